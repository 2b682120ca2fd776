"""The command `phonevault`: finds the subcommand, loads only its module, and shows errors."""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

import click

from phonevault import __version__
from phonevault.cli.output import show_error
from phonevault.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, describe

COMMANDS = {
    "check": ("phonevault.cli.check", "check", "Look whether a vault is whole; repair it."),
    "create": ("phonevault.cli.create", "create", "Make a vault."),
    "doctor": ("phonevault.cli.doctor", "doctor", "Look whether this computer has what phonevault needs."),
    "header": ("phonevault.cli.header", "header", "Back up and restore a vault's header."),
    "info": ("phonevault.cli.info", "info", "Show what a vault's header says, without any key."),
    "lock": ("phonevault.cli.control", "lock", "Lock a mounted vault now."),
    "mount": ("phonevault.cli.mount", "mount", "Open a vault as a folder."),
    "passwd": ("phonevault.cli.slot", "passwd", "Change a passphrase."),
    "phone": ("phonevault.cli.phone", "phone", "Pair, list, ping and forget phones."),
    "rotate": ("phonevault.cli.rotate", "rotate", "Change keys: a slot's secret, the volume key."),
    "slot": ("phonevault.cli.slot", "slot", "List, add, remove and test the ways into a vault."),
    "speed": ("phonevault.cli.speed", "speed", "Measure ciphers and folders on this computer."),
    "status": ("phonevault.cli.control", "status", "List the mounted vaults."),
    "unlock": ("phonevault.cli.control", "unlock", "Unlock a locked vault."),
    "unmount": ("phonevault.cli.control", "unmount", "Close the folder."),
}
"""Command: its module, its name there, and its line in the help, shown without loading the module."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command's module and return the command."""
        if cmd_name not in COMMANDS:
            return None
        module, name, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in sorted(COMMANDS)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="phonevault", message="%(prog)s %(version)s")
def cli() -> None:
    """Encrypted folders that only your phone opens."""


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; errors are shown on standard error, bugs raise."""
    try:
        code = cli.main(args=arguments, prog_name="phonevault", standalone_mode=False)
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2 and later; its message is the help
            click.echo(error.format_message(), err=True)
            return EXIT_USAGE
        hint = f"{error.ctx.command_path} --help" if error.ctx is not None else "phonevault --help"
        show_error(error.format_message(), hint)
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        show_error("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output went away. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BUG
    except BaseException as error:
        report = describe(error)
        if report is None:
            raise
        show_error(report.message, report.hint)
        return report.exit_code
    return code if isinstance(code, int) else EXIT_OK


def main() -> NoReturn:
    """Entry point of the program."""
    sys.exit(run())


if __name__ == "__main__":
    main()

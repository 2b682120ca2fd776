"""`phonevault-phone`: the phone's side on the command line. Only the `cli` modules print (and `serving`)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from phone_link.errors import LinkError
from phone_link.phone import exit_codes
from phone_link.phone.cli_control import control_commands
from phone_link.phone.cli_init import init_command
from phone_link.phone.cli_pin import pin_commands
from phone_link.phone.cli_service import service_command
from phone_link.phone.cli_show import show_commands

STORE = click.argument("store", type=click.Path(path_type=Path))
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group(epilog=exit_codes.describe(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="phonevault", prog_name="phonevault-phone", message="%(prog)s %(version)s")
def phone() -> None:
    """The phone of a phonevault: keeps the keys, asks its user, answers paired computers."""


@phone.command(short_help="Answer paired computers at SPEC.")
@STORE
@click.option(
    "--listen",
    "spec",
    required=True,
    metavar="SPEC",
    help="bluetooth:, serial:DEVICE, tcp:HOST:PORT, unix:PATH, …",
)
@click.option("--pin-file", type=_FILE, help="File with the PIN; without it the terminal asks.")
@click.option(
    "--approve",
    type=click.Choice(["ask", "auto"]),
    default="ask",
    show_default=True,
    help="Whether the user of the phone is asked before a key is used.",
)
@click.option("--accept-pairing", is_flag=True, help="Pair without comparing the digits (scripts, tests).")
@click.option(
    "--ask-timeout",
    type=click.FloatRange(1, 600),
    default=45.0,
    show_default=True,
    metavar="S",
    help="Seconds until a question without an answer counts as refused.",
)
def serve(
    store: Path, spec: str, pin_file: Path | None, approve: str, accept_pairing: bool, ask_timeout: float
) -> None:
    """Answer paired computers at SPEC until SIGTERM, SIGINT or `quit`.

    Prints `ready: SPEC` when it listens. Without --pin-file and without a terminal the keys stay closed
    until a computer sends the PIN. With `--approve ask` each use of a key is asked for on the terminal;
    no answer, or no terminal, is a refusal.

    On the terminal, `lock` tells every connected computer to lock and refuses all use of keys until `unlock`
    is typed (or `phonevault-phone unlock STORE` is run, or serve is started again). With `--listen bluetooth:`
    `pair` lets computers find this phone and pair with it for three minutes.
    """
    from phone_link.phone.serving import ServeOptions
    from phone_link.phone.serving import serve as run
    from phone_link.phone.store import Store

    run(Store(store), ServeOptions(spec, pin_file, approve, accept_pairing, ask_timeout))


for command in (
    init_command(STORE, _FILE),
    service_command(STORE, _FILE),
    *show_commands(STORE),
    *pin_commands(STORE, _FILE),
    *control_commands(STORE),
):
    phone.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run `phonevault-phone` and exit with a code of `exit_codes`."""
    sys.exit(run_main(arguments))


def run_main(arguments: list[str] | None = None) -> int:
    """Run `phonevault-phone` and return its exit code."""
    try:
        phone.main(arguments, prog_name="phonevault-phone", standalone_mode=False)
    except click.UsageError as error:
        return _usage_error(error)
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("error: interrupted", err=True)
        return exit_codes.INTERRUPTED
    except LinkError as error:
        click.echo(f"error: {error}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        return exit_codes.exit_code(error)
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        click.echo(f"error: {error.strerror or error}{place}", err=True)
        return exit_codes.OTHER_FAILURE
    return 0


def _usage_error(error: click.UsageError) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2 and later; its message is the help
        click.echo(error.format_message(), err=True)
    else:
        where = error.ctx.command_path if error.ctx is not None else "phonevault-phone"
        click.echo(f"error: {error.format_message()}\nhint: {where} --help", err=True)
    return error.exit_code


if __name__ == "__main__":
    main()

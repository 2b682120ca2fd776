"""The main job from beginning to end. Run scripts/demo, which installs what this needs.

Exit code 0 if everything was as promised, 1 at the first broken promise, 130 on Ctrl-C.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time

from demo_steps import ciphertext, outage, phone, tree, vault
from demo_steps.programs import Program
from demo_steps.radio import Radio
from demo_steps.report import BrokenPromise, Report
from demo_steps.world import World, describe
from rich.console import Console


def set_up(world: World, report: Report) -> tuple[Radio, Program]:
    """Radio, phone, pairing."""
    with report.step("A radio: two Bluetooth adapters on one emulated air"):
        radio = Radio(world)
    with report.step("A phone, with an RSA key of 3072 bits and a PIN"):
        phone.make(world)
        serving = phone.serve(world, radio)
    with report.step("Pairing: the six digits on both screens are compared"):
        phone.pair(world, serving, radio)
    return radio, serving


def fill(world: World, report: Report, radio: Radio) -> None:
    """Create, mount, copy in, compare."""
    with report.step("A vault that the phone opens, or a recovery code"):
        vault.create(world, phone.NAME)
    with report.step("Mounting: the phone in range unwraps the key"):
        vault.mount(world, "--phone", phone.NAME, "--grace", f"{vault.GRACE_S:g}")
        link = radio.link()
        report.check(
            link.get("authenticated", False), "over a Bluetooth link that both ends authenticated", str(link)
        )
    with report.step("Copying in a real tree: the interpreter's own standard library"):
        tree.make(world.original)
        count, size_mb = len(tree.entries(world.original)), tree.size_bytes(world.original) / 1e6
        report.show(f"{count:,} entries, {size_mb:.0f} MB, with links, odd names, modes and a sparse file")
        world.run("cp", "-a", world.original, world.mountpoint / "original", timeout_s=300).must_succeed()
        vault.check_same(world, "read back")


def _cut(text: str, width: int = 100) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def look_at_ciphertext(world: World, report: Report) -> None:
    """No plaintext name and no plaintext content in what lies on the disk."""
    with report.step("What a thief of the disk would see"):
        entries = sorted(path.relative_to(world.vault) for path in tree.walk(world.vault))
        report.show("\n".join(_cut(str(path)) for path in entries[:: len(entries) // 5][:5]))
        names = ciphertext.names(world.original)
        shown = ciphertext.names_shown(world.vault, names)
        report.check(
            not shown,
            f"none of {len(names):,} plaintext names is part of a ciphertext path",
            ", ".join(shown[:5]),
        )
        pieces = ciphertext.samples(world.original)
        control = len(ciphertext.found_in(world.original, pieces))
        report.check(
            control == len(pieces),
            f"a search for {len(pieces)} pieces of plaintext finds all in the original",
        )
        found = ciphertext.found_in(world.vault, pieces)
        report.check(not found, f"and none in the {len(entries):,} entries of the ciphertext", str(found))
        hole = tree.hole_bytes(world.vault)
        report.check(
            hole > tree.HOLE_BYTES / 2, f"the sparse file stays sparse: a hole of {hole / 1e6:.0f} MB"
        )


def lose_and_regain(world: World, report: Report, radio: Radio) -> None:
    """The outage, and locking by command."""
    with report.step("In the middle of a copy the phone walks out of range"):
        copy = outage.walk_away(world, radio)
        vault.check_refused(world)
    with report.step("The phone comes back"):
        outage.come_back(world, radio)
        outage.settle(world, copy)
        vault.check_same(world, "after the outage")
    with report.step("Locking and unlocking by command"):
        world.run("phonevault", "lock", world.mountpoint).must_succeed()
        vault.check_refused(world)
        time.sleep(1)
        report.check(vault.state(world) == "locked", "it stays locked although the phone is near")
        world.run("phonevault", "unlock", world.mountpoint).must_succeed()
        vault.check_readable(world)
        vault.unmount(world)
    with report.step("What the phone remembers"):
        report.show(world.run("phonevault-phone", "log", world.phone_store).must_succeed().output)


def recover(world: World, report: Report, serving: Program) -> None:
    """The recovery code, with the phone away."""
    with report.step("The phone is lost: the recovery code opens the vault"):
        serving.stop()
        vault.mount(world, "--recovery-file", world.recovery_file)
        vault.check_same(world, "with the recovery code")
        vault.unmount(world)


def leave(world: World, report: Report) -> None:
    """Nothing is left."""
    with report.step("Leaving"):
        world.stop_programs()
        left = world.processes(patience_s=3)
        report.check(not left, "no process is left", describe(left))
        report.check(not world.mounts(), "no mount is left")


def demonstrate(world: World, report: Report) -> None:
    """All steps in their order; raises BrokenPromise."""
    radio, serving = set_up(world, report)
    fill(world, report, radio)
    look_at_ciphertext(world, report)
    lose_and_regain(world, report, radio)
    recover(world, report, serving)
    leave(world, report)


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="The main job from beginning to end.")
    parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the world is left clean as well
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    for program in ("fusermount3", "diff", "cp"):
        if shutil.which(program) is None:
            console.print(f"[red]error:[/] {program} is missing")
            return 1
    started = time.monotonic()
    try:
        with World(Report(console)) as world:
            demonstrate(world, world.report)
    except BrokenPromise as broken:
        console.print("\n[bold red]✗ broken promise:[/] ", end="")
        console.print(str(broken), markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("\ninterrupted; mounts and processes of the demo are gone")
        return 130
    console.print(f"\n[bold green]Everything as promised, in {time.monotonic() - started:.0f} s.[/]")
    return 0


if __name__ == "__main__":
    sys.exit(main())

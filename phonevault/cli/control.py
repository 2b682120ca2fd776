"""`phonevault status|lock|unlock|unmount`: commands to running mounts."""

from __future__ import annotations

import sys
from typing import Any

import click

from phonevault.cli.info import cipher_text
from phonevault.cli.output import note, say, show_json, show_table, warn
from phonevault.cli.secret_input import prompt_secret, read_secret
from phonevault.cli.where import canonical_header
from phonevault.daemon import client
from phonevault.daemon.protocol import Request
from phonevault.errors import DaemonGone, LockNotVerified, NotMounted, PhonevaultError


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(as_json: bool) -> None:
    """List the mounted vaults of this user."""
    found = [mount.status for mount in client.find_mounts()]
    if as_json:
        show_json(found)
    elif found:
        columns = ("folder", "state", "phone", "vault", "pid", "")
        show_table(columns, [_row(mount) for mount in found], prose=True)
    elif sys.stdout.isatty():
        say("nothing is mounted")


def _row(mount: dict[str, Any]) -> tuple[str, ...]:
    phone, pid = mount["phone"] or "–", str(mount["pid"] or "–")
    return (mount["mountpoint"], mount["state"], phone, mount["vault"], pid, "; ".join(_remarks(mount)))


def _remarks(mount: dict[str, Any]) -> list[str]:
    """What a person wants to know beyond the state."""
    if mount["state"] == "dead":
        return ["its daemon has ended; `phonevault unmount` removes the mount"]
    if mount["state"] == "unreachable":
        return ["its daemon does not answer here; mounted with another XDG_RUNTIME_DIR?"]
    if mount["state"] == client.SILENT:
        return ["its daemon does not answer"]
    remarks = []
    if mount["cause"]:
        remarks.append(mount["cause"])
    if mount["locks_in_s"] is not None:
        remarks.append(f"locks in {mount['locks_in_s']:.0f} s")
    if mount["last_error"] and mount["state"] == "locked":
        remarks.append(mount["last_error"])
    if mount["phone_problem"] and mount["state"] != "unlocked":
        remarks.append(mount["phone_problem"])
    if mount["state"] == "unlocked" and not mount["bound_to_phone"]:
        remarks.append("bound to no phone: stays open until locked")
    if mount.get("rotation") is not None:
        remarks.append(_rotation_remark(mount["rotation"]))
    if mount["cipher"] != cipher_text(mount["cipher"]):
        remarks.append(cipher_text(mount["cipher"]))
    if mount.get("header_file"):
        remarks.append(f"header in {mount['header_file']}")
    if mount["read_only"]:
        remarks.append("read-only")
    return remarks


def _rotation_remark(now: dict[str, Any]) -> str:
    share = f" {min(1, now['seen'] / now['total']):.0%}" if now["total"] and now["state"] != "done" else ""
    return f"rotation of keys ({now['kind']}): {now['state']}{share}"


# A mount point is a plain string here: click.Path would stat it, and a frozen folder does not answer.


@click.command()
@click.argument("mountpoint", required=False)
@click.option("--all", "everything", is_flag=True, help="Every mounted vault of this user.")
def lock(mountpoint: str | None, everything: bool) -> None:
    """Wipe the keys now. The folder stays, and answers "Required key not available".

    Without MOUNTPOINT: the one vault that is mounted. Only `phonevault unlock` opens the folder again.
    """
    if mountpoint is not None and everything:
        raise click.UsageError("give MOUNTPOINT or --all, not both")
    if mountpoint is not None:
        _lock(client.resolve(mountpoint))
        return
    living = [mount.mountpoint for mount in client.find_mounts() if mount.alive]
    if everything:
        _lock_all(living)
    elif len(living) == 1:
        _lock(living[0])
    elif living:
        raise click.UsageError("several vaults are mounted: give MOUNTPOINT or --all")
    else:
        raise NotMounted("nothing is mounted", "")


def _lock_all(mountpoints: list[str]) -> None:
    """Lock each, whatever becomes of the others; the first error counts."""
    first: PhonevaultError | None = None
    for mountpoint in mountpoints:
        try:
            _lock(mountpoint)
        except NotMounted:
            continue  # unmounted meanwhile
        except PhonevaultError as error:
            warn(f"{mountpoint}: {error}")
            first = first or error
    if first is not None:
        raise first


def _lock(mountpoint: str) -> None:
    answer = client.call(mountpoint, Request("lock"))
    if answer.get("state") != "locked":
        raise LockNotVerified(f"{mountpoint} is {answer.get('state')}")
    say(f"locked {mountpoint}")
    for holder in answer.get("open_files", []):
        first = holder["paths"][0] if holder["paths"] else ""
        note(f"{holder['command']} ({holder['pid']}) holds {first} open; it works again after an unlock")


@click.command()
@click.argument("mountpoint")
@click.option(
    "--passphrase-file", metavar="F", help="With the passphrase in F ('-': standard input or asked)."
)
@click.option("--recovery-file", metavar="F", help="With the recovery code in F ('-' as above).")
@click.option(
    "--header", "header_file", metavar="FILE", help="The header, kept apart from the vault, is in FILE now."
)
def unlock(
    mountpoint: str, passphrase_file: str | None, recovery_file: str | None, header_file: str | None
) -> None:
    """Open a locked folder again, with the phone it was mounted with, a passphrase or a recovery code.

    A folder mounted with a passphrase or a recovery code asks for it again. A header that is kept apart is looked for
    where it was, and from now on in FILE if that is given.
    """
    if passphrase_file is not None and recovery_file is not None:
        raise click.UsageError("--passphrase-file and --recovery-file exclude each other")
    from phonevault.daemon.harden import forbid_dumps

    forbid_dumps()  # before a secret is read
    place = client.resolve(mountpoint)
    header = str(canonical_header(header_file) or "")
    if passphrase_file is not None:
        both = client.call(place, Request("status"))["method"] == "phone+passphrase"
        method = "phone+passphrase" if both else "passphrase"
        _unlock_by_secret(place, method, read_secret(passphrase_file, "passphrase"), header)
    elif recovery_file is not None:
        _unlock_by_secret(place, "recovery", read_secret(recovery_file, "recovery code"), header)
    else:
        _unlock_as_mounted(place, header)
    say(f"unlocked {place}")


def _unlock_as_mounted(place: str, header: str) -> None:
    now = client.call(place, Request("status"))
    if now["state"] == "unlocked":
        return
    if now["method"] == "phone":
        client.call(place, Request("unlock", "phone", header=header))
    else:
        what = "recovery code" if now["method"] == "recovery" else "passphrase"
        _unlock_by_secret(place, now["method"], prompt_secret(what), header)


def _unlock_by_secret(place: str, method: str, secret: bytearray, header: str) -> None:
    try:
        client.call(place, Request("unlock", method, len(secret), header), secret)
    finally:
        secret[:] = bytes(len(secret))


@click.command()
@click.argument("mountpoint")
def unmount(mountpoint: str) -> None:
    """Close the folder: write everything back, wipe the keys, end its daemon."""
    place = client.resolve(mountpoint)
    try:
        client.call_and_await_end(place, Request("unmount"))
    except DaemonGone:
        from phonevault.daemon.places import remove_dead

        remove_dead(place)
        note("its daemon had ended before; what it had not written back is lost")
    say(f"unmounted {place}")

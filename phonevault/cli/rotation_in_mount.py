"""Rotations in a mounted vault: the daemon does the work, the command authorises it and looks on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NoReturn

import click

from phonevault.cli.output import note, say
from phonevault.cli.rotation_display import REDRAW_S, RotationDisplay
from phonevault.cli.secret_input import prompt_secret, read_secret
from phonevault.daemon import client
from phonevault.daemon.protocol import Request
from phonevault.errors import (
    EXIT_INTERRUPTED,
    ControlError,
    NotMounted,
    PhonevaultError,
    RotationIncomplete,
    UnlockImpossible,
)

if TYPE_CHECKING:
    from phonevault.cli.opening import Ways

GOING = ("running", "paused", "waiting")


def rotation_of(status: dict[str, Any]) -> dict[str, Any] | None:
    """The rotation in a daemon's answer.

    Raises:
        ControlError: the daemon is of a version that knows none.
    """
    if "rotation" not in status:
        raise ControlError("the mount daemon is of an older version", "unmount and mount again, then rotate")
    found: dict[str, Any] | None = status["rotation"]
    return found


def begin(place: str, kind: str, header_digest: str, duty: float | None, ways: Ways) -> None:
    """Have the daemon open the vault in the chosen way, and begin.

    Raises:
        ReportedError: it does not open, or the daemon refuses.
    """
    method, secret = _method(client.call(place, Request("status")), ways)
    try:
        request = Request("rotate", method, len(secret), kind=kind, digest=header_digest, duty=duty or 0)
        client.call(place, request, secret)
    except KeyboardInterrupt:
        note("it may have begun: see `phonevault rotate status`")
        raise
    finally:
        secret[:] = bytes(len(secret))


def _method(status: dict[str, Any], ways: Ways) -> tuple[str, bytearray]:
    """How the daemon is to open the vault: as it was mounted, unless another way was given."""
    if ways.recovery_file is not None:
        return "recovery", read_secret(ways.recovery_file, "recovery code")
    others = set(ways.phone_names) - {phone["name"] for phone in status["phones"]}
    if others:
        raise UnlockImpossible(
            f"this mount does not talk to the phone {', '.join(sorted(others))}",
            "give its own phone, --passphrase-file or --recovery-file; or unmount first",
        )
    both = status["method"] == "phone+passphrase"
    if ways.passphrase_file is not None:
        method = "phone+passphrase" if both or ways.phone_names else "passphrase"
        return method, read_secret(ways.passphrase_file, "passphrase")
    method = "phone" if ways.phone_names and not both else status["method"]
    if method == "phone":
        return method, bytearray()
    return method, prompt_secret("recovery code" if method == "recovery" else "passphrase")


def follow(place: str) -> dict[str, Any]:
    """Look on until a rotation has ended, and return its last state; Ctrl-C leaves it alone.

    Raises:
        RotationIncomplete: damaged files kept it from ending.
        PhonevaultError: it failed, or the mount is gone.
    """
    try:
        return _until_ended(place)
    except KeyboardInterrupt:
        note(f"it goes on in the background: `phonevault rotate status {place}`")
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except NotMounted as error:
        raise NotMounted(str(error), "a rotation that had not ended goes on with the next mount") from None


def _until_ended(place: str) -> dict[str, Any]:
    now = _now(place)
    told = False
    with RotationDisplay(now["unit"]) as display:
        while now["state"] in GOING:
            if now["state"] == "waiting" and not told:
                note("the folder is locked: the rotation goes on when it is unlocked")
            told = now["state"] == "waiting"
            display.update(now, now["state"])
            time.sleep(REDRAW_S)
            now = _now(place)
    if now["state"] == "incomplete":
        raise RotationIncomplete(now["message"])
    if now["state"] == "failed":
        _failed(now)
    return now


def _now(place: str) -> dict[str, Any]:
    now = rotation_of(client.call(place, Request("status")))
    if now is None:
        raise PhonevaultError("the daemon knows of no rotation any more")
    return now


def _failed(now: dict[str, Any]) -> NoReturn:
    raise PhonevaultError(
        f"the rotation stopped: {now['message']}", "when that is mended, the same command goes on"
    )


def change(place: str, what: str, duty: float = 0) -> dict[str, Any]:
    """Pause, resume or throttle the rotation of a mount.

    Returns:
        It, after that.

    Raises:
        ReportedError: none is under way.
    """
    return rotation_of(client.call(place, Request("rotation", change=what, duty=duty))) or {}


def find(target: str) -> client.Found | None:
    """The mount that a user means by its mount point or its vault, without touching a frozen one."""
    from phonevault.daemon.places import canonical_vault

    mounts = [mount for mount in client.find_mounts() if mount.alive]
    place = client.resolve(target)
    for mount in mounts:
        if mount.mountpoint == place:
            return mount
    vault = str(canonical_vault(target))
    return next((mount for mount in mounts if mount.vault == vault), None)


def place_of(target: str) -> str:
    """The mount point for a mount point or a vault.

    Raises:
        NotMounted: it is mounted nowhere.
    """
    found = find(target)
    if found is None:
        raise NotMounted(f"{target} is not mounted, and is no mount")
    return found.mountpoint


def tell_begun(vault: str, place: str) -> None:
    """Say that the work goes on in the background."""
    say(f"{vault}: new files have the new key; the others follow in the background")
    note(f"see `phonevault rotate status {place}`")

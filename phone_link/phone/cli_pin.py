"""`phonevault-phone unblock` and `change-pin`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def pin_commands(store: _Decorator, file: click.Path) -> tuple[click.Command, ...]:
    """Return the commands; `store` decorates with the argument STORE, `file` is the type of file options."""

    @click.command()
    @store
    @click.option("--puk-file", type=file, help="File with the PUK; without it the terminal asks.")
    @click.option("--pin-file", type=file, help="File with the new PIN; without it the terminal asks.")
    def unblock(store: Path, puk_file: Path | None, pin_file: Path | None) -> None:
        """Set a new PIN with the PUK."""
        from phone_link.phone import pin_guard, secret_input
        from phone_link.phone.pin import normal_puk
        from phone_link.phone.store import Store

        Store(store).load()
        typed = secret_input.secret(puk_file, "PUK: ")
        puk, pin = normal_puk(typed), secret_input.new_pin(pin_file)
        _counted(store, lambda: pin_guard.unblock(Store(store), puk, pin), typed, puk, pin)
        click.echo("the new PIN is set")

    @click.command("change-pin")
    @store
    @click.option("--old-pin-file", type=file, help="File with the PIN; without it the terminal asks.")
    @click.option("--pin-file", type=file, help="File with the new PIN; without it the terminal asks.")
    def change_pin(store: Path, old_pin_file: Path | None, pin_file: Path | None) -> None:
        """Set a new PIN with the old one."""
        from phone_link.phone import pin_guard, secret_input
        from phone_link.phone.store import Store

        Store(store).load()
        old, new = secret_input.secret(old_pin_file, "PIN: "), secret_input.new_pin(pin_file)
        _counted(store, lambda: pin_guard.change_pin(Store(store), old, new), old, new)
        click.echo("the new PIN is set")

    return unblock, change_pin


def _counted(store: Path, action: Callable[[], None], *secrets: bytearray) -> None:
    """Run a PIN or PUK operation, log how it went, and wipe the secrets."""
    from phone_link.errors import PinIncorrect, PinLocked
    from phone_link.phone.log import Event, LogEntry, UnlockLog
    from phone_link.wipe import wipe

    log = UnlockLog(store)
    try:
        action()
    except PinLocked as error:
        log.append(LogEntry(Event.PIN_BLOCKED, detail=str(error)))
        raise
    except PinIncorrect as error:
        log.append(LogEntry(Event.WRONG_PIN, detail=str(error)))
        raise
    finally:
        for secret in secrets:
            wipe(secret)
    log.append(LogEntry(Event.PIN_CHANGED))

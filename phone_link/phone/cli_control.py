"""`phonevault-phone lock`, `unlock`, `forget`, `accept-header`: commands that a running agent hears of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def control_commands(store: _Decorator) -> tuple[click.Command, ...]:
    """Return the commands of this module; `store` is the decorator of the argument STORE."""

    @click.command(short_help="Lock every connected computer; refuse all use of keys.")
    @store
    def lock(store: Path) -> None:
        """Lock everything: tell every connected computer, and refuse all use of keys.

        It lasts until `phonevault-phone unlock STORE`, `unlock` typed at the serve terminal, or a new
        start of serve.
        """
        count = _ask(store, "lock")["computers"]
        click.echo(f"locked; told {count} {'computer' if count == 1 else 'computers'}")

    @click.command(short_help="End a lock: keys may be used again.")
    @store
    def unlock(store: Path) -> None:
        """End a `lock`: keys may be used again, with the consent their policy asks for."""
        _ask(store, "unlock")
        click.echo("unlocked")

    @click.command()
    @store
    @click.argument("computer")
    def forget(store: Path, computer: str) -> None:
        """Forget a paired COMPUTER (name or id) and end its connection."""
        from phone_link.phone.display import printable
        from phone_link.phone.errors import AgentNotRunning
        from phone_link.phone.log import Event, LogEntry, UnlockLog
        from phone_link.phone.store import Store

        peer = Store(store).forget_peer(computer)
        UnlockLog(store).append(LogEntry(Event.FORGOTTEN, peer.name, detail=f"computer {peer.id.hex()}"))
        with suppress(AgentNotRunning):
            _ask(store, "reload")
        click.echo(f"forgot {printable(peer.name, 64)}")

    return lock, unlock, forget, _accept_header(store)


def _accept_header(store: _Decorator) -> click.Command:
    @click.command("accept-header", short_help="Take the next header of a vault, whatever it is.")
    @store
    @click.argument("vault", metavar="VAULTID")
    @click.option("--forget", is_flag=True, help="Forget the vault: it is then one never seen.")
    def accept_header(store: Path, vault: str, forget: bool) -> None:
        """Take the next header of the vault VAULTID that opens, even if it is older than the one known, or another one.

        For a backup that you have put back yourself. `status` and `phonevault info` show the ids; the first characters will do.
        """
        from dataclasses import replace

        from phone_link.phone.log import Event, LogEntry, UnlockLog
        from phone_link.phone.store import Store

        place = Store(store)
        place.load()
        with place.anchor_transaction() as transaction:
            found = transaction.anchors.named(vault)
            if forget:
                transaction.write(transaction.anchors.without(found.vault_id))
            else:
                transaction.write(transaction.anchors.with_anchor(replace(found, accept=True)))
        name = f"vault {found.vault_id.hex()}"
        if forget:
            UnlockLog(place.path).append(LogEntry(Event.HEADER_FORGOTTEN, detail=name))
        click.echo(f"forgot the {name}" if forget else f"the next header of the {name} is taken")

    return accept_header


def _ask(store: Path, command: str) -> dict[str, Any]:
    from phone_link.phone.control import ask_agent
    from phone_link.phone.store import Store

    Store(store).load()
    return ask_agent(store, command)

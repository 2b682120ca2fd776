"""Telling phones of a header that a command has written: until a phone knows it, it takes the one before, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from phonevault.cli.output import printable, warn

if TYPE_CHECKING:
    from phonevault.daemon.ways import Way
    from phonevault.vault import Mark, SlotOpener


class Rememberer(Protocol):
    """A session with a phone."""

    def remember_header(self, vault_id: bytes, generation: int, mac: bytes, tag: bytes) -> bool:
        """As `phone_link.host.session.PhoneSession`."""
        ...


def tell_later(way: Way) -> Callable[[Mark], None]:
    """Return what tells the phone that a vault was opened with, over a connection of its own; of no phone nothing."""
    from phonevault.daemon.link import CONNECT_TIMEOUT_S
    from phonevault.daemon.ways import PhoneWay

    if not isinstance(way, PhoneWay):
        return lambda mark: None

    def connect_and_tell(mark: Mark) -> None:
        session = way.connect(CONNECT_TIMEOUT_S)
        try:
            _remember(session, mark)  # type: ignore[arg-type]
        finally:
            session.close()

    return lambda mark: _warned(way.name, connect_and_tell, mark)


def tell_now(name: str, session: Rememberer) -> Callable[[Mark], None]:
    """Return what tells a phone over a session that is open."""
    return lambda mark: _warned(name, lambda mark: _remember(session, mark), mark)


def tell_opener(opener: SlotOpener) -> Callable[[Mark], None]:
    """Return what tells the phone of an opener, while its session is open."""
    return lambda mark: _warned("that opened it", opener.wrote, mark)


def _remember(session: Rememberer, mark: Mark) -> None:
    session.remember_header(mark.vault_id, mark.generation, mark.mac, mark.tag)


def _warned(name: str, tell: Callable[[Mark], object], mark: Mark) -> None:
    from phone_link.errors import LinkError

    try:
        tell(mark)
    except LinkError as error:
        warn(
            f"the phone {printable(name)} was not told of the new header ({error}): until it has opened the vault once, "
            "it takes the old one, too"
        )

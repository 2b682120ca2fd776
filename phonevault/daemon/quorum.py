"""Several phones as one: a session with as many of them as a slot needs, for the link thread and whoever opens a slot.

It is as good as its weakest part: a sign of life is one of every phone in it, and what one phone loses is lost for all. Then the
phones are gathered anew, and another one of the slot may take the place of the one that is gone.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from phone_link.errors import LinkError, PhoneAbsent

_LEAST_S = 0.05
"""What is left for the last phone of several is never nothing."""


@dataclass(frozen=True)
class Member:
    """One of the phones.

    Attributes:
        name: For people.
        fingerprint: Of its RSA key, hex.
        connect: Opens an authenticated session within so many seconds.
    """

    name: str
    fingerprint: str
    connect: Callable[[float], Any]


class TooFewPhones(PhoneAbsent):
    """Fewer phones are in range than the slot needs."""

    hint = "bring another of its phones near, with its phonevault program running"


class QuorumSession:
    """Sessions with different phones; for one thread at a time, as each of them is.

    Args:
        parts: The phones and their sessions.
        lost: Told which phone a link error came from.
    """

    def __init__(self, parts: Sequence[tuple[Member, Any]], lost: Callable[[Member], None]) -> None:
        self.parts = tuple(parts)
        self._lost = lost

    def ping(self, timeout_s: float) -> None:
        """Return after an authenticated answer of every phone; `LinkError` if one does not answer."""
        deadline_s = time.monotonic() + timeout_s
        for member, session in self.parts:
            with self._of(member):
                session.ping(max(deadline_s - time.monotonic(), _LEAST_S))

    def wait(self, timeout_s: float) -> None:
        """Hand out unsolicited messages of every phone for so long altogether; `LinkError` if a link is gone."""
        for member, session in self.parts:
            with self._of(member):
                session.wait(timeout_s / len(self.parts))

    def on_lock(self, handler: Callable[[], None]) -> None:
        """Set who hears that any of the phones says "lock everything"."""
        for _, session in self.parts:
            session.on_lock(handler)

    def remember_header(self, vault_id: bytes, generation: int, mac: bytes, tag: bytes) -> bool:
        """Have every phone remember a header; False if one cannot, `LinkError` if one is gone."""
        done = [one.remember_header(vault_id, generation, mac, tag) for _, one in self.parts]
        return all(done)

    def close(self) -> None:
        """End every session."""
        _close(self.parts)

    @contextlib.contextmanager
    def _of(self, member: Member) -> Iterator[None]:
        try:
            yield
        except LinkError:
            self._lost(member)
            raise


class Quorum:
    """Gathers phones.

    Args:
        members: All that may take part, in the order in which they are tried first.
        needed: How many.
    """

    def __init__(self, members: Sequence[Member], needed: int) -> None:
        self._members = list(members)
        self._needed = needed

    def connect(self, timeout_s: float) -> QuorumSession:
        """Connect one phone after another until there are enough; those that were away last time come last.

        Args:
            timeout_s: For each phone.

        Raises:
            TooFewPhones: There are not enough; nobody was asked for anything.
        """
        parts: list[tuple[Member, Any]] = []
        missing: list[str] = []
        try:
            for member in list(self._members):
                if len(parts) == self._needed or len(self._members) - len(missing) < self._needed:
                    break
                try:
                    parts.append((member, member.connect(timeout_s)))
                except LinkError as error:
                    self._last(member)
                    missing.append(f"{member.name}: {error}")
            if len(parts) < self._needed:
                raise TooFewPhones(f"{self._needed} phones are needed together, and {'; '.join(missing)}")
        except BaseException:
            _close(parts)
            raise
        return QuorumSession(parts, self._last)

    def _last(self, member: Member) -> None:
        self._members.remove(member)
        self._members.append(member)


def _close(parts: Sequence[tuple[Member, Any]]) -> None:
    for _, session in parts:
        session.close()

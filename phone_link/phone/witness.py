"""The witness of headers: what this phone remembers of each vault, and whether a computer may go on with a header it read.

It stops the silent return of an old header by somebody who holds the ciphertext (docs/threat-model.md 3). One serves all connections.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from phone_link.cryptoki import CKR
from phone_link.errors import HeaderForked, HeaderRolledBack, PhoneError, UserRefused, VaultSubstituted
from phone_link.phone.anchors import MAX_ANCHORS, Anchor, Anchors, Shown, Verdict, judge
from phone_link.phone.approval import Approver, HeaderQuestion
from phone_link.phone.clock import utc_now
from phone_link.phone.connection import Connection
from phone_link.phone.log import Event, LogEntry


class AnchorTransaction(Protocol):
    """anchors.json under the store's lock."""

    anchors: Anchors

    def write(self, anchors: Anchors) -> None:
        """Replace it durably."""


class AnchorStore(Protocol):
    """Where anchors are kept."""

    def load_anchors(self) -> Anchors:
        """Return those on disk."""

    def anchor_transaction(self) -> AbstractContextManager[AnchorTransaction]:
        """Hold the lock and give access to them."""


class Witness:
    """Judges headers that computers show, and remembers those that opened."""

    def __init__(
        self,
        store: AnchorStore,
        approver: Approver,
        record: Callable[[LogEntry], None],
        obstacle: Callable[[Connection], str],
    ) -> None:
        """Set up.

        Args:
            store: keeps the anchors.
            approver: asks the user.
            record: keeps what happened.
            obstacle: why a connection may do nothing now (locked, no longer paired), or empty.
        """
        self._store = store
        self._approver = approver
        self._record = record
        self._obstacle = obstacle

    def show(self, connection: Connection, shown: Shown) -> Verdict:
        """Judge a header that a computer has read and not opened yet. Nothing is stored.

        Returns:
            UNKNOWN, NEWER or KNOWN; NEWER also for one that the user takes although it is not.

        Raises:
            HeaderRolledBack, HeaderForked: the user does not.
        """
        anchor = self._store.load_anchors().of(shown.vault_id)
        verdict = judge(anchor, shown)
        if anchor is None or verdict not in (Verdict.OLDER, Verdict.FORKED):
            return verdict
        if not anchor.accept and shown.vault_id not in connection.accepted:
            self._ask(connection, shown, anchor.shown)
        return Verdict.NEWER

    def _ask(self, connection: Connection, shown: Shown, known: Shown) -> None:
        obstacle = self._obstacle(connection)
        granted, how = False, obstacle
        if not obstacle:
            answer = self._approver.accept_header(HeaderQuestion(connection.computer, shown, known))
            # The user may have locked everything while the question stood.
            obstacle = self._obstacle(connection)
            granted, how = answer.granted and not obstacle, obstacle or answer.how
        detail = f"{_described(shown, known)}, {how}"
        if not granted:
            self._record(LogEntry(Event.HEADER_REFUSED, connection.computer, detail=detail))
            raise _refusal(shown, known)
        connection.accepted.add(shown.vault_id)
        self._record(LogEntry(Event.HEADER_ACCEPTED, connection.computer, detail=detail))

    def remember(self, connection: Connection, shown: Shown, tag: bytes) -> None:
        """Remember a header that a computer has opened, or written. When this returns it is on stable storage.

        Raises:
            UserRefused: everything is locked, or the computer is no longer paired.
            VaultSubstituted: the tag is not this vault's.
            HeaderRolledBack, HeaderForked: it is not newer, and the user has not taken it.
            PhoneError: CKR_DEVICE_MEMORY, too many vaults.
        """
        if self._obstacle(connection):
            raise UserRefused
        with self._store.anchor_transaction() as transaction:
            anchor = transaction.anchors.of(shown.vault_id)
            event = self._check(connection, anchor, shown, tag)
            if anchor is not None and event is None and anchor.shown == shown:
                connection.accepted.discard(shown.vault_id)
                return
            if anchor is None and len(transaction.anchors.anchors) >= MAX_ANCHORS:
                raise PhoneError(CKR.DEVICE_MEMORY, "too many vaults")
            transaction.write(transaction.anchors.with_anchor(Anchor(shown, tag, utc_now())))
        connection.accepted.discard(shown.vault_id)
        if event is not None:
            detail = _described(shown, None if anchor is None else anchor.shown)
            self._record(LogEntry(event, connection.computer, detail=detail))

    def _check(self, connection: Connection, anchor: Anchor | None, shown: Shown, tag: bytes) -> Event | None:
        """Return what is to be recorded about a header that may be remembered."""
        if anchor is None:
            return Event.HEADER_NEW
        if anchor.accept:
            return Event.HEADER_ACCEPTED
        if not anchor.has_tag(tag):
            self._record(LogEntry(Event.HEADER_REFUSED, connection.computer, detail=_other_keys(shown)))
            raise VaultSubstituted
        if judge(anchor, shown) in (Verdict.OLDER, Verdict.FORKED):
            if shown.vault_id not in connection.accepted:
                raise _refusal(shown, anchor.shown)
            return Event.HEADER_ACCEPTED
        return None


def _refusal(shown: Shown, known: Shown) -> PhoneError:
    return HeaderForked() if shown.generation == known.generation else HeaderRolledBack()


def _described(shown: Shown, known: Shown | None) -> str:
    text = f"vault {shown.vault_id.hex()}, header of generation {shown.generation}"
    if known is None:
        return text
    if shown.generation == known.generation and shown.mac != known.mac:
        return f"{text}, another one than is known"
    return f"{text}, known was {known.generation}"


def _other_keys(shown: Shown) -> str:
    return f"vault {shown.vault_id.hex()}: its keys are others than before"

"""The security manager: who may use which key now. It decides, the module computes.

No threads and no I/O of its own.

One manager serves all connections. A private-key operation needs, in this order: login, no "lock everything"
in force, a computer that is still paired, and consent according to the key's policy. Each outcome is
recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from phone_link.cryptoki import CKR
from phone_link.errors import PhoneError, PinIncorrect, PinLocked, PinRequired, UserRefused
from phone_link.phone.approval import Answer, Approver, Question
from phone_link.phone.connection import Connection
from phone_link.phone.log import Event, LogEntry
from phone_link.phone.module import CryptographicModule
from phone_link.phone.objects import KeyDescription, TokenObject, objects_of
from phone_link.phone.witness import AnchorStore, Witness

__all__ = ["MAX_SESSIONS", "Connection", "SecurityManager"]

MAX_SESSIONS = 8
_T = TypeVar("_T")


class SecurityManager:
    """Login, lock, consent and record around one cryptographic module."""

    def __init__(
        self,
        module: CryptographicModule,
        approver: Approver,
        record: Callable[[LogEntry], None],
        is_paired: Callable[[bytes], bool],
        anchors: AnchorStore,
        *,
        phone_name: str,
    ) -> None:
        """Set up.

        Args:
            module: the keys.
            approver: asks the user.
            record: keeps what happened.
            is_paired: True if a computer (8-byte id) is paired at this moment.
            anchors: keeps what is remembered of vaults' headers.
            phone_name: shown to computers.
        """
        self.module = module
        self.phone_name = phone_name
        self.witness = Witness(anchors, approver, record, self._obstacle)
        self._approver = approver
        self._record = record
        self._is_paired = is_paired
        self._state = threading.RLock()
        self._logged_in_here = False
        self._logged_in: set[Connection] = set()
        self._locked = False
        # (connection, key id) of keys with policy `session` the user has agreed to.
        self._granted: set[tuple[Connection, bytes]] = set()

    # Connections

    def connect(self, computer: str, peer_id: bytes) -> Connection:
        """Begin a connection; nothing is open in it."""
        return Connection(computer, peer_id)

    def disconnect(self, connection: Connection) -> None:
        """End a connection: its sessions close and its login ends (PKCS#11 v2.40, C_CloseSession)."""
        connection.sessions.clear()
        self._leave(connection)

    # Login

    def is_logged_in(self, connection: Connection) -> bool:
        """True if this connection, or the user on the phone for all, has entered the PIN."""
        with self._state:
            return self._logged_in_here or connection in self._logged_in

    def login(self, connection: Connection, pin: bytearray | None) -> None:
        """Log a connection in (C_Login).

        A PIN from the computer counts for this connection only. Without one it is typed on the phone, and
        then counts for every connection until the agent ends.

        Raises:
            PhoneError: CKR_USER_ALREADY_LOGGED_IN.
            PinIncorrect, PinLocked: from the module.
            PinRequired: nobody typed one.
        """
        if self.is_logged_in(connection):
            raise PhoneError(CKR.USER_ALREADY_LOGGED_IN, "logged in already")
        if pin is not None:
            self._check_pin(pin, connection.computer)
            with self._state:
                self._logged_in.add(connection)
            return
        typed = self._approver.ask_pin(connection.computer)
        if typed is None:
            raise PinRequired("nobody typed the PIN on the phone")
        try:
            self.login_here(typed, connection.computer)
        finally:
            typed[:] = bytes(len(typed))

    def login_here(self, pin: bytearray, computer: str = "") -> None:
        """Log in for all connections with a PIN given on the phone; `PinIncorrect`, `PinLocked`."""
        self._check_pin(pin, computer)
        with self._state:
            self._logged_in_here = True

    def logout(self, connection: Connection) -> None:
        """End a connection's login (C_Logout), not one made on the phone. `PinRequired` if there is none."""
        if not self.is_logged_in(connection):
            raise PinRequired("not logged in")
        self._leave(connection)

    def logout_all(self) -> None:
        """End every login: the agent stops."""
        with self._state:
            self._logged_in_here = False
            self._logged_in.clear()
            self.module.logout()

    def _leave(self, connection: Connection) -> None:
        with self._state:
            self._logged_in.discard(connection)
            self._granted = {grant for grant in self._granted if grant[0] is not connection}
            if not self._logged_in and not self._logged_in_here:
                self.module.logout()

    def _check_pin(self, pin: bytearray, computer: str) -> None:
        where = "PIN from the computer" if computer else "PIN on the phone"
        try:
            with self._state:
                self.module.login(pin)
        except PinLocked as error:
            self._record(LogEntry(Event.PIN_BLOCKED, computer, detail=str(error)))
            raise
        except PinIncorrect as error:
            self._record(LogEntry(Event.WRONG_PIN, computer, detail=str(error)))
            raise
        self._record(LogEntry(Event.LOGIN, computer, detail=where))

    # Lock everything

    @property
    def locked(self) -> bool:
        """True while every private-key operation is refused."""
        return self._locked

    def lock(self) -> None:
        """Refuse private-key operations from now on, and forget all consents."""
        with self._state:
            self._locked = True
            self._granted.clear()
        self._record(LogEntry(Event.LOCK, detail="everything is locked"))

    def end_lock(self) -> None:
        """Let consents count again."""
        with self._state:
            self._locked = False
        self._record(LogEntry(Event.LOCK_ENDED))

    # Trouble

    def report_trouble(self, connection: Connection, error: Exception) -> None:
        """Record that the phone's own store failed in a command (best effort: the log is part of it)."""
        with suppress(OSError):
            self._record(LogEntry(Event.FAILED, connection.computer, detail=str(error)))

    # Objects

    def visible_objects(self, connection: Connection) -> tuple[TokenObject, ...]:
        """Return the objects a connection may see: the private ones only after login (PKCS#11 v2.40, 4.4)."""
        logged_in = self.is_logged_in(connection)
        found = (half for key in self.module.key_pairs() for half in objects_of(key))
        return tuple(half for half in found if logged_in or not half.is_private)

    # Private-key operations

    def use_key(
        self, connection: Connection, key: KeyDescription | None, purpose: str, operation: Callable[[], _T]
    ) -> _T:
        """Run `operation` if everything allows it, and record the outcome.

        Args:
            connection: who asks.
            key: the key to be used; None for an operation that is always asked for.
            purpose: for the question: `unlock`, `make a new key`.
            operation: the module's work.

        Raises:
            PinRequired: not logged in.
            UserRefused: locked, no longer paired, or the user said no.
            PhoneError: from the operation.
        """
        reason = connection.take_reason()
        name = "" if key is None else key.id.hex()
        if not self.is_logged_in(connection):
            raise PinRequired()
        answer = self._consent(connection, key, Question(connection.computer, purpose, reason))
        if not answer.granted:
            self._record(LogEntry(Event.REFUSED, connection.computer, reason, answer.how, name))
            raise UserRefused()
        try:
            result = operation()
        except PhoneError as error:
            self._record(LogEntry(Event.FAILED, connection.computer, reason, str(error), name))
            raise
        event = Event.KEY_MADE if key is None else Event.UNLOCK
        self._record(LogEntry(event, connection.computer, reason, answer.how, name))
        return result

    def _consent(self, connection: Connection, key: KeyDescription | None, question: Question) -> Answer:
        obstacle = self._obstacle(connection)
        if obstacle:
            return Answer(False, obstacle)
        if key is not None and key.policy == "auto":
            return Answer(True, "approved by the key's policy")
        if key is not None and key.policy == "session" and (connection, key.id) in self._granted:
            return Answer(True, "approved before in this session")
        answer = self._approver.approve(question)
        # The user may have locked everything, or forgotten the computer, while the question stood.
        obstacle = self._obstacle(connection)
        if answer.granted and obstacle:
            return Answer(False, obstacle)
        if answer.granted and key is not None and key.policy == "session":
            with self._state:
                self._granted.add((connection, key.id))
        return answer

    def _obstacle(self, connection: Connection) -> str:
        if self._locked:
            return "everything is locked"
        return "" if self._is_paired(connection.peer_id) else "no longer paired"

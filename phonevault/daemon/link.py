"""The link thread: heartbeats while the phone is there, reconnection while it is not, and fetching the keys.

Timing (all measured from the moment the radio dies, in the worst case): the last answered heartbeat was sent
up to `BEAT_S` before; the machine freezes `state.LATE_AFTER_S` after it, that is within 2.5 s. A link error
is reported at once and freezes sooner.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from keyslots.errors import HeaderAway, KeyslotsError
from phone_link.errors import LinkError, PhoneError
from phonevault.daemon import state
from phonevault.daemon.clock import boottime_s
from phonevault.daemon.log import log
from phonevault.daemon.volume import Wipeable
from phonevault.errors import PhonevaultError

BEAT_S = 1.0
PING_TIMEOUT_S = 3.0
"""Longer than the freeze takes: an answer that is late, but comes, thaws without a new connection."""
POLL_S = 0.2
"""How soon a question from the supervisor is taken up: a blocked read of the link cannot be woken."""
QUESTION_S = 0.05
"""How long the supervisor may take to answer a sign of life with a question."""
CONNECT_TIMEOUT_S = 6.0
BACKOFF_S = (0.2, 0.5, 1.0, 2.0)
"""Pauses between attempts to connect; the last one repeats."""
STABLE_S = 5.0
"""After a link that held this long the next attempt is made at once."""


class PhoneSession(Protocol):
    """What is used of `phone_link.host.session.PhoneSession` here."""

    def ping(self, timeout_s: float) -> None:
        """Return after an authenticated answer; raise `LinkError`."""

    def wait(self, timeout_s: float) -> None:
        """Hand out unsolicited messages for so long; raise `LinkError`."""

    def on_lock(self, handler: Callable[[], None]) -> None:
        """Set who hears that the phone says "lock everything"."""

    def close(self) -> None:
        """End the session."""


class Sink(Protocol):
    """Where the link thread reports: the supervisor."""

    @property
    def status(self) -> state.Status:
        """Where the machine stands."""

    def post(self, event: state.Event) -> None:
        """Report an event."""

    def keys_ready(self, keys: Wipeable, *, bound: bool, ticket: int) -> None:
        """Hand over opened keys."""

    def keys_failed(self, error: BaseException, *, refused: bool, ticket: int) -> None:
        """Report that there are none."""


@dataclass(frozen=True)
class Phone:
    """How the phone of a mount is reached.

    Attributes:
        name: For people.
        connect: Opens an authenticated session within so many seconds; raises `LinkError`.
        open_keys: Has the phone of a session unwrap the keys, with a passphrase if its slot needs one; whoever gets them wipes them.
    """

    name: str
    connect: Callable[[float], PhoneSession]
    open_keys: Callable[[Any, bytearray | None], Wipeable]


class Errand:
    """Something that the phone is asked for while the folder is open, by a thread that waits for it.

    Args:
        open_keys: Has the phone of a session unwrap the keys.
    """

    def __init__(self, open_keys: Callable[[Any], Wipeable]) -> None:
        self._open_keys = open_keys
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._keys: Wipeable | None = None
        self._error: BaseException | None = None

    def run(self, session: Any) -> None:
        """Ask.

        Raises:
            LinkError: The link broke. The one who waits is told, too.
        """
        try:
            self.give(self._open_keys(session))
        except (LinkError, KeyslotsError, PhonevaultError, OSError) as error:
            self.fail(error)
            if isinstance(error, LinkError) and not isinstance(error, PhoneError):
                raise

    def give(self, keys: Wipeable) -> None:
        """Hand over keys; they are wiped if nobody waits any more."""
        with self._lock:
            if self._done.is_set():
                keys.wipe()
            self._keys = keys
            self._done.set()

    def fail(self, error: BaseException) -> None:
        """Say that there are none; later calls change nothing."""
        with self._lock:
            if not self._done.is_set():
                self._error = error
                self._done.set()

    def wait(self, timeout_s: float) -> Any:
        """The keys, for the caller to wipe.

        Raises:
            LinkError, KeyslotsError, PhonevaultError: There are none, or not within so many seconds.
        """
        self._done.wait(timeout_s)
        self.fail(PhonevaultError("the phone did not answer in time"))
        if self._error is not None:
            raise self._error
        return self._keys


class Link:
    """The link thread of one mount.

    Args:
        phone: The phone.
        sink: The supervisor.
        session: A session that is open already, or None.
    """

    def __init__(self, phone: Phone, sink: Sink, session: PhoneSession | None = None) -> None:
        self._phone = phone
        self._sink = sink
        self._session = session
        self._stop = False
        self._wake = threading.Event()
        self._ticket: int | None = None
        self._passphrase: bytearray | None = None
        self._errand: Errand | None = None
        self._news: deque[Callable[[Any], object]] = deque()
        self._failures = 0
        self._connected_s = time.monotonic()
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)

    # -- for other threads --------------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        """Why the phone cannot be reached at the moment, or empty."""
        return self._problem

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask(self, ticket: int) -> None:
        """Have the phone unwrap the keys; the supervisor hears of the outcome with this ticket."""
        self._ticket = ticket
        self._wake.set()

    def send(self, errand: Errand) -> None:
        """Have the phone do something while the folder is open.

        No sign of life is asked for meanwhile: if its user takes his time, the folder freezes, and locks after its grace.
        """
        if not self._thread.is_alive():
            errand.fail(PhonevaultError("the mount is ending"))
            return
        previous, self._errand = self._errand, errand
        if previous is not None:
            previous.fail(PhonevaultError("another command asks the phone"))
        self._wake.set()

    def tell(self, news: Callable[[Any], object]) -> None:
        """Tell the phone something over its session, now or when it is back. Nobody waits, and a refusal is only logged."""
        self._news.append(news)

    def kick(self) -> None:
        """Try to connect now, not after the pause."""
        self._wake.set()

    def offer(self, passphrase: bytearray) -> None:
        """Hold a passphrase for the next question, if the slot needs one besides the phone; wiped once it was used."""
        self.forget_passphrase()
        self._passphrase = passphrase

    def forget_passphrase(self) -> None:
        """Wipe a passphrase that was not used."""
        passphrase, self._passphrase = self._passphrase, None
        if passphrase is not None:
            passphrase[:] = bytes(len(passphrase))

    def stop(self) -> None:
        """End the thread and the session; returns when it has ended or after a second."""
        self._stop = True
        self._wake.set()
        session = self._session
        if session is not None:
            session.close()
        self._thread.join(1.0)

    # -- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if self._session is not None:
                self._session.on_lock(self._phone_says_lock)
            while not self._stop:
                self._turn()
        finally:
            # Reached by a bug, too: no heartbeats from here on, and the machine locks in time.
            self._drop()
            if (errand := self._take_errand()) is not None:
                errand.fail(PhonevaultError("the mount is ending"))
            self._sink.post(state.LinkLost())

    def _turn(self) -> None:
        """One heartbeat, one question, or one attempt to connect."""
        session = self._session
        if session is None:
            if self._failures:
                self._wake.wait(BACKOFF_S[min(self._failures, len(BACKOFF_S)) - 1])
            self._wake.clear()
            if not self._stop:
                self._reconnect()
            return
        try:
            if self._ticket is not None:
                self._fetch(session, self._ticket)
            if (errand := self._take_errand()) is not None:
                errand.run(session)
            while self._news:
                self._tell(session, self._news.popleft())
            self._beat(session)
        except LinkError as error:
            self._lost(error)

    def _reconnect(self) -> None:
        try:
            session = self._phone.connect(CONNECT_TIMEOUT_S)
        except LinkError as error:
            self._failures += 1
            self._set_problem(error)
            self._give_up_question(error)
            return
        session.on_lock(self._phone_says_lock)
        self._session = session
        self._connected_s = time.monotonic()
        self._problem = ""
        log(f"{self._phone.name} is back")

    def _beat(self, session: PhoneSession) -> None:
        """Ask for a sign of life, then listen until the next is due."""
        sent_s, sent_monotonic_s = boottime_s(), time.monotonic()
        session.ping(PING_TIMEOUT_S)
        self._sink.post(state.PhoneSeen(sent_s))
        if self._is_locked():
            self._wake.wait(QUESTION_S)  # a phone that has just come back is asked for the keys at once
        while not self._stop and not (self._ticket is not None or self._errand or self._news):
            left_s = sent_monotonic_s + BEAT_S - time.monotonic()
            if left_s <= 0:
                return
            session.wait(min(left_s, POLL_S))

    def _tell(self, session: PhoneSession, news: Callable[[Any], object]) -> None:
        try:
            news(session)
        except PhoneError as error:
            log(f"{self._phone.name}: {error}")

    def _is_locked(self) -> bool:
        return self._sink.status.state is state.State.LOCKED

    def _fetch(self, session: PhoneSession, ticket: int) -> None:
        """Have the keys unwrapped and hand them over."""
        self._ticket = None
        self._wake.clear()
        try:
            keys = self._phone.open_keys(session, self._passphrase)
        except PhoneError as error:
            self._sink.keys_failed(error, refused=True, ticket=ticket)
            return
        except LinkError as error:
            self._sink.keys_failed(error, refused=False, ticket=ticket)
            raise
        except HeaderAway as error:
            # Its medium may come back as the phone does: asked for again with each sign of life, silently.
            self._sink.keys_failed(error, refused=False, ticket=ticket)
            return
        except (KeyslotsError, PhonevaultError, OSError) as error:
            self._sink.keys_failed(error, refused=True, ticket=ticket)
            return
        finally:
            self.forget_passphrase()
        self._sink.keys_ready(keys, bound=True, ticket=ticket)

    def _give_up_question(self, error: LinkError) -> None:
        """The phone is not there: whoever asked is told, instead of waiting."""
        self.forget_passphrase()
        if (errand := self._take_errand()) is not None:
            errand.fail(error)
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._sink.keys_failed(error, refused=False, ticket=ticket)

    def _take_errand(self) -> Errand | None:
        errand, self._errand = self._errand, None
        return errand

    def _lost(self, error: LinkError) -> None:
        self._set_problem(error)
        self._drop()
        # A link that breaks again and again as soon as it is there must not be built up without a pause.
        lived_s = time.monotonic() - self._connected_s
        self._failures = 0 if lived_s >= STABLE_S else self._failures + 1
        self._sink.post(state.LinkLost())

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _set_problem(self, error: LinkError) -> None:
        if str(error) != self._problem:
            log(f"{self._phone.name}: {error}")
        self._problem = str(error)

    def _phone_says_lock(self) -> None:
        self._sink.post(state.LockAsked(state.Cause.PHONE))

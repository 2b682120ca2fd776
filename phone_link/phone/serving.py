"""`phonevault-phone serve`: puts the agent together, runs it until a signal, and takes it down."""

from __future__ import annotations

import _thread
import resource
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from phone_link.errors import LinkError, PinIncorrect, SpecError
from phone_link.phone.agent import Agent, recorder
from phone_link.phone.approval import Approver, AutomaticApprover, NobodyThere
from phone_link.phone.console import Console, interactive
from phone_link.phone.control import AgentLock, ControlServer
from phone_link.phone.errors import CannotListen
from phone_link.phone.pairing_desk import CompareCode, accept_any
from phone_link.phone.secret_input import secret_from_file, secret_from_terminal
from phone_link.phone.security_manager import SecurityManager
from phone_link.phone.software import SoftwareModule
from phone_link.phone.store import Store
from phone_link.transport.base import CompareDigits, Findable, Listener, TransportOptions
from phone_link.transport.open import listen, split_spec
from phone_link.wipe import wipe

ONE_AT_A_TIME = ("pty", "serial")
BLUETOOTH_STATE = "bluetooth"
HELP = "type: lock, unlock, quit"
HELP_FINDABLE = "type: lock, unlock, quit; pair: let computers find this phone"
PAIRING_S = 180
"""How long a phone is found by Bluetooth after `pair` was typed."""


@dataclass(frozen=True)
class ServeOptions:
    """What the command line says."""

    spec: str
    pin_file: Path | None
    approve: str
    accept_pairing: bool
    ask_timeout_s: float


class _Ending:
    """SIGTERM and SIGINT: before the agent serves they end the program, then they only set `event`."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.serving = False

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # In a thread: this one may be inside the event's own lock just now, and would wait for itself.
        _thread.start_new_thread(self.event.set, ())
        if not self.serving:
            raise SystemExit(0)


class _Printer:
    """Standard output for several threads: whole lines, flushed, and no end of the agent if nobody reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, text: str) -> None:
        with self._lock, suppress(OSError, ValueError):
            sys.stdout.write(text)
            sys.stdout.flush()


def serve(store: Store, options: ServeOptions) -> None:
    """Serve until SIGTERM, SIGINT or `quit`.

    Raises:
        StoreError: the store, another agent, or `CannotListen`.
        PinIncorrect, PinLocked: the PIN of --pin-file (the try was counted).
        SpecError
    """
    scheme, _ = split_spec(options.spec, listening=True)
    ending, say = _Ending(), _Printer()
    ending.install()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the master key
    phone = store.load()
    with ExitStack() as cleanup:
        lock = AgentLock(store.path)
        cleanup.callback(lock.release)
        commands = _TypedCommands(say, ending.event)
        console = None
        if sys.stdin is not None and interactive(sys.stdin.fileno()):
            console = Console(say, commands, ask_timeout_s=options.ask_timeout_s)
            cleanup.callback(console.close)
        manager = SecurityManager(
            SoftwareModule(store),
            _approver(options.approve, console),
            recorder(store, say),
            lambda peer_id: store.peer(peer_id) is not None,
            store,
            phone_name=phone.name,
        )
        cleanup.callback(manager.logout_all)
        _first_login(manager, options.pin_file, ask=console is not None)
        listener = _listen(store, options, console)
        agent = Agent(
            store,
            manager,
            listener,
            say=say,
            compare_code=_comparer(options.accept_pairing, console),
            record=recorder(store, say),
            one_at_a_time=scheme in ONE_AT_A_TIME,
        )
        cleanup.callback(agent.stop)
        commands.agent = agent
        if isinstance(listener, Findable):
            commands.findable = listener
        control = ControlServer(store.path, agent.answer_control)
        cleanup.callback(control.close)
        control.start()
        if console is not None:
            console.start()
            cleanup.callback(console.close)  # first of all: whoever waits for an answer gets "no"
        say(f"ready: {getattr(listener, 'spec', options.spec)}\n")
        _announce(say, manager, options, commands.help if console is not None else None)
        _run(agent, ending)


def _run(agent: Agent, ending: _Ending) -> None:
    """Accept in a thread, wait for the end in this one (where signals arrive)."""
    failures: list[LinkError] = []

    def accept() -> None:
        try:
            agent.accept_loop()
        except LinkError as error:
            failures.append(error)
        finally:
            ending.event.set()

    ending.serving = True
    threading.Thread(target=accept, name="accept", daemon=True).start()
    ending.event.wait()
    if failures:
        raise CannotListen(f"the listener failed: {failures[0]}")


def _listen(store: Store, options: ServeOptions, console: Console | None) -> Listener:
    state = store.path / BLUETOOTH_STATE
    pairing = options.accept_pairing
    if options.spec.startswith("bumble:"):
        state.mkdir(mode=0o700, exist_ok=True)
        pairing = pairing or console is not None
    compare: CompareDigits | None = None
    if options.accept_pairing:
        compare = accept_any
    elif console is not None:
        compare = console.compare_bluetooth
    try:
        return listen(options.spec, TransportOptions(state, pairing, compare))
    except SpecError:
        raise
    except LinkError as error:
        raise CannotListen(str(error)) from None


def _approver(approve: str, console: Console | None) -> Approver:
    if console is None:
        return AutomaticApprover() if approve == "auto" else NobodyThere()
    return _AutomaticWithPin(console) if approve == "auto" else console


class _AutomaticWithPin(AutomaticApprover):
    """Approves everything, but can ask for the PIN."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def ask_pin(self, computer: str) -> bytearray | None:
        return self._console.ask_pin(computer)


def _comparer(accept_pairing: bool, console: Console | None) -> CompareCode | None:
    if accept_pairing:
        return accept_any
    return None if console is None else console.compare_code


def _first_login(manager: SecurityManager, pin_file: Path | None, *, ask: bool) -> None:
    if pin_file is not None:
        _login(manager, secret_from_file(pin_file))
        return
    while ask:
        pin = secret_from_terminal("PIN (empty: later): ")
        if not pin:
            return
        try:
            _login(manager, pin)
        except PinIncorrect:
            continue  # said already; the last wrong one ends with PinLocked
        return


def _login(manager: SecurityManager, pin: bytearray) -> None:
    try:
        manager.login_here(pin)
    finally:
        wipe(pin)


def _announce(
    say: Callable[[str], None], manager: SecurityManager, options: ServeOptions, typed_help: str | None
) -> None:
    say(f"phone: {manager.phone_name}\n")
    if not manager.module.logged_in:
        say("the PIN has not been entered: keys cannot be used yet\n")
    if typed_help is not None:
        say(typed_help)
    elif options.approve == "ask":
        say("no terminal to ask on: every use of a key that needs consent is refused (see --approve)\n")


class _TypedCommands:
    """What the user may type while no question stands."""

    def __init__(self, say: Callable[[str], None], end: threading.Event) -> None:
        self.agent: Agent | None = None
        self.findable: Findable | None = None
        self._say = say
        self._end = end

    def __call__(self, typed: str) -> None:
        if typed == "quit":
            self._end.set()
        elif typed in ("lock", "unlock") and self.agent is not None:
            try:
                self.agent.answer_control(typed)
            except (LinkError, OSError) as error:
                self._say(f"error: {error}\n")
        elif typed == "pair" and self.findable is not None:
            self._let_pair(self.findable)
        else:
            self._say(self.help)

    @property
    def help(self) -> str:
        """What may be typed, one line."""
        return (HELP if self.findable is None else HELP_FINDABLE) + "\n"

    def _let_pair(self, listener: Findable) -> None:
        try:
            listener.let_pair(PAIRING_S)
        except LinkError as error:
            self._say(f"error: {error}\n")
        else:
            self._say(f"computers find this phone for {PAIRING_S // 60} minutes\n")

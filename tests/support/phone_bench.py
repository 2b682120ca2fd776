"""What the tests of the phone share: cheap stores, a scripted user, command lines straight into the handlers."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from phone_link.at.codec import parse_command_line
from phone_link.at.types import Response
from phone_link.phone.approval import Answer, HeaderQuestion, Question
from phone_link.phone.dispatch import handler_for
from phone_link.phone.log import LogEntry
from phone_link.phone.module import NewKey
from phone_link.phone.security_manager import Connection, SecurityManager
from phone_link.phone.setup import NewStore, create_store
from phone_link.phone.software import SoftwareModule
from phone_link.phone.store import Store
from phone_link.phone.store_format import Argon2Cost, Peer

CHEAP = Argon2Cost(memory_kib=8 * 1024, iterations=1, lanes=1)
PIN = b"1234"
WRONG = b"9999"
PEER = Peer("laptop", bytes(range(32)), "2026-01-01T00:00:00Z")
OAEP = "9:" + '"00000250000000020000"'
PROGRAM = (sys.executable, "-m", "phone_link.phone.cli")
REPOSITORY = Path(__file__).parents[2]


def pin(value: bytes = PIN) -> bytearray:
    return bytearray(value)


def make_store(
    path: Path, *, key: bool = True, policy: str = "ask", usage: tuple[str, ...] = ("decrypt",)
) -> NewStore:
    request = NewKey(2048, "vault key", policy=policy, usage=usage) if key else None
    return create_store(path, "test phone", pin(), key=request, cost=CHEAP)


def encrypt(public_der: bytes, secret: bytes, label: bytes = b"") -> bytes:
    public = serialization.load_der_public_key(public_der)
    assert isinstance(public, rsa.RSAPublicKey)
    return public.encrypt(secret, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label))


@dataclass
class ScriptedUser:
    """An approver that answers what the test says and remembers the questions."""

    granted: bool = True
    takes_headers: bool = False
    headers: list[HeaderQuestion] = field(default_factory=list)
    typed_pin: bytes | None = None
    questions: list[Question] = field(default_factory=list)
    pin_wanted_by: list[str] = field(default_factory=list)
    while_asking: object = None

    def approve(self, question: Question) -> Answer:
        self.questions.append(question)
        if callable(self.while_asking):
            self.while_asking()
        return Answer(self.granted, "approved" if self.granted else "refused on the phone")

    def accept_header(self, question: HeaderQuestion) -> Answer:
        self.headers.append(question)
        if callable(self.while_asking):
            self.while_asking()
        return Answer(
            self.takes_headers, "taken by the user" if self.takes_headers else "refused on the phone"
        )

    def ask_pin(self, computer: str) -> bytearray | None:
        self.pin_wanted_by.append(computer)
        return None if self.typed_pin is None else bytearray(self.typed_pin)


class Bench:
    """A security manager over a software module, with one connected computer; no threads, no link."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.user = ScriptedUser()
        self.entries: list[LogEntry] = []
        self.paired = True
        self.module = SoftwareModule(store)
        self.manager = SecurityManager(
            self.module,
            self.user,
            self.entries.append,
            lambda peer_id: self.paired,
            store,
            phone_name="test phone",
        )
        self.connection = self.connect()

    def connect(self) -> Connection:
        return self.manager.connect("laptop", PEER.id)

    def run(self, line: str, connection: Connection | None = None) -> Response:
        """Run a command line of one command; errors are raised as the handler raises them."""
        (command,) = parse_command_line(line)
        return handler_for(self.manager, connection or self.connection)(command)

    def only(self, line: str, connection: Connection | None = None) -> str:
        """Run it and return what follows the `: ` of its only line."""
        (answer,) = self.run(line, connection).lines
        return answer.split(": ", 1)[1]

    def session(self, connection: Connection | None = None, *, flags: int = 6) -> int:
        return int(self.only(f"*POPEN=0,{flags:X}", connection))

    def events(self) -> list[str]:
        return [str(entry.event) for entry in self.entries]


def program(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run `phonevault-phone` in a process of its own, not on a terminal."""
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=REPOSITORY,
        **options,  # type: ignore[call-overload]
    )


class Served:
    """A running `phonevault-phone serve`; `output` is what it has printed so far."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self.output = ""
        self._seen = 0

    def wait_for_again(self, text: str) -> str:
        """As `wait_for`, but only what was printed after the text last waited for counts."""
        return self.wait_for(text, since=self._seen)

    def wait_for(self, text: str, timeout_s: float = 30, since: int = 0) -> str:
        """Read until `text` has been printed; fails with all output if it does not come."""
        deadline = time.monotonic() + timeout_s
        while text not in self.output[since:]:
            ready, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
            try:
                data = os.read(self._descriptor, 4096) if ready else b""
            except OSError:
                data = b""
            assert data, f"{text!r} was not printed, only:\n{self.output}"
            self.output += data.decode()
        self._seen = self.output.index(text, since) + len(text)
        return self.output

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=20)


@contextmanager
def serving(*arguments: object, terminal: bool = False, command: str = "serve") -> Iterator[Served]:
    """Run `phonevault-phone serve …` (or another command) on pipes or on a pseudo-terminal; it is ended and reaped."""
    argv = [*PROGRAM, command, *map(str, arguments)]
    if terminal:
        import pty

        pid, descriptor = pty.fork()
        if pid == 0:
            os.chdir(REPOSITORY)
            os.execv(argv[0], argv)
        process: subprocess.Popen[bytes] = _Forked(pid)  # type: ignore[assignment]
    else:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
        )
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
    served = Served(process, descriptor)
    try:
        yield served
    finally:
        served.stop(signal.SIGKILL)
        if terminal:
            os.close(descriptor)
        else:
            assert process.stdout is not None
            process.stdout.close()


class _Forked:
    """The part of `Popen` that is needed, for a child made by pty.fork."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def send_signal(self, number: int) -> None:
        os.kill(self._pid, number)

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            assert time.monotonic() < deadline, "the program did not end"
            time.sleep(0.01)
        return status

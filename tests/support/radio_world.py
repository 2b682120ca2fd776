"""A radio, a phone in a process of its own, and the computer's side in the test's process."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

from phone_link.transport.base import Stream, TransportOptions
from phone_link.transport.open import connect
from support.radio import PC_ADDRESS, PHONE_ADDRESS, Radio

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 15.0


class PhoneProcess:
    """The phone's side in a process of its own."""

    def __init__(self, radio: Radio, state_dir: Path, pairing: bool) -> None:
        program = ROOT / "tests" / "radio" / "phone_process.py"
        mode = "pairing" if pairing else "bonded"
        self.process = subprocess.Popen(
            [sys.executable, str(program), radio.listen_spec, str(state_dir), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.expect("listening")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))

    def expect(self, line: str) -> None:
        assert self._lines.get(timeout=PATIENCE_S) == line

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def hang(self) -> None:
        """Stop it; returns when it has stopped, which the signal alone does not wait for."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def stop(self) -> None:
        """End it the orderly way; it must leave no thread behind."""
        self.tell("stop")
        while not (line := self._lines.get(timeout=PATIENCE_S)).startswith("threads"):
            assert line.startswith(("open", "closed"))
        assert line == "threads 1"
        assert self.process.wait(PATIENCE_S) == 0

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()
        self._reader.join(PATIENCE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class World:
    """A radio, a phone that can be started and stopped, and the computer's side in this process."""

    def __init__(self, radio: Radio, directory: Path) -> None:
        self.radio = radio
        self.phone_state = directory / "phone-state"
        self.pc_state = directory / "pc-state"
        self.phone_keys = self.phone_state / f"bluetooth-{PHONE_ADDRESS.replace(':', '')}.json"
        self.pc_keys = self.pc_state / f"bluetooth-{PC_ADDRESS.replace(':', '')}.json"
        self._phones: list[PhoneProcess] = []
        self._streams: list[Stream] = []

    def start_phone(self, pairing: bool = False) -> PhoneProcess:
        phone = PhoneProcess(self.radio, self.phone_state, pairing)
        self._phones.append(phone)
        return phone

    def connect(self, pairing: bool = False, timeout_s: float = 6.0) -> Stream:
        stream = connect(self.radio.connect_spec, timeout_s, TransportOptions(self.pc_state, pairing))
        self._streams.append(stream)
        return stream

    def paired(self) -> tuple[PhoneProcess, Stream]:
        """A phone and a stream to it, after pairing."""
        phone = self.start_phone(pairing=True)
        stream = self.connect(pairing=True)
        phone.expect("open")
        return phone, stream

    def end(self) -> None:
        for stream in self._streams:
            stream.close()
        for phone in self._phones:
            phone.end()


def echoed(stream: Stream, data: bytes = b"AT\r") -> bytes:
    """Send, and read as much again."""
    stream.write(data)
    return read_exactly(stream, len(data))


def read_exactly(stream: Stream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        received += stream.read(PATIENCE_S)
    assert len(received) == count
    return received

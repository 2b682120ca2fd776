"""The phone's screen and keys, as far as a terminal can stand for them: questions, and typed commands."""

from __future__ import annotations

import os
import queue
import select
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from phone_link.phone.approval import Answer, HeaderQuestion, Question
from phone_link.phone.display import printable
from phone_link.wipe import wipe

MAX_LINE_BYTES = 256
ASK_TIMEOUT_S = 45.0


def interactive(descriptor: int) -> bool:
    """Return True if a person can answer there: a terminal whose foreground is this program."""
    try:
        return os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False


class Console:
    """One reader of the terminal. A line answers the question that stands, or else is a command.

    Questions are asked one after the other; any thread may ask. It is an `Approver`.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        on_command: Callable[[str], None],
        *,
        descriptor: int | None = None,
        ask_timeout_s: float = ASK_TIMEOUT_S,
    ) -> None:
        """Set up.

        Args:
            say: prints one line or prompt.
            on_command: takes a line typed while no question stood, in the reader's thread.
            descriptor: the terminal; standard input by default.
            ask_timeout_s: seconds until an unanswered question counts as "no".
        """
        self._say = say
        self._on_command = on_command
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._timeout_s = ask_timeout_s
        self._turn = threading.Lock()
        self._answer: queue.SimpleQueue[bytearray | None] | None = None
        self._answer_lock = threading.Lock()
        self._closed = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._read, name="console", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading; a question that stands is answered with nothing. Idempotent."""
        if self._closed.is_set():
            return
        self._closed.set()
        os.write(self._wake_write, b"x")
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # Asking

    def approve(self, question: Question) -> Answer:
        """Ask whether a key may be used."""
        typed = self._ask(question.text() + " [y/N] ")
        if typed is None:
            return Answer(False, "no answer")
        return Answer(True, "approved") if self._is_yes(typed) else Answer(False, "refused on the phone")

    def accept_header(self, question: HeaderQuestion) -> Answer:
        """Ask whether a header that is not the newest is to be taken."""
        typed = self._ask(question.text() + " [y/N] ")
        if typed is None:
            return Answer(False, "no answer")
        taken = self._is_yes(typed)
        return Answer(taken, "taken by the user" if taken else "refused on the phone")

    def compare_code(self, code: str, computer: str) -> bool | None:
        """Ask whether the computer shows the same six digits; None if nobody answers."""
        typed = self._ask(f"does {computer} show {code}? [y/N] ")
        return None if typed is None else self._is_yes(typed)

    def compare_bluetooth(self, code: str, computer: str) -> bool:
        """Ask whether the computer shows the same six digits of Bluetooth's own pairing."""
        shown = f"{code[:3]} {code[3:]}"
        who = printable(computer, 64)
        typed = self._ask(
            f"Bluetooth pairing (the first of two comparisons): does {who} show {shown}? [y/N] "
        )
        return typed is not None and self._is_yes(typed)

    def ask_pin(self, computer: str) -> bytearray | None:
        """Ask for the PIN without showing it."""
        return self._ask(f"PIN, wanted by {computer}: ", secret=True) or None

    @staticmethod
    def _is_yes(typed: bytearray) -> bool:
        return bytes(typed).strip().lower() in (b"y", b"yes")

    def _ask(self, prompt: str, *, secret: bool = False) -> bytearray | None:
        """Return the line typed, None if there was none in time. What was typed before does not count."""
        with self._turn, self._echo_off(secret):
            if self._closed.is_set():
                return None
            answer: queue.SimpleQueue[bytearray | None] = queue.SimpleQueue()
            with suppress(termios.error):
                termios.tcflush(self._descriptor, termios.TCIFLUSH)
            with self._answer_lock:
                self._answer = answer
            self._say(prompt)
            try:
                typed = self._wait(answer)
            finally:
                with self._answer_lock:
                    self._answer = None
            if typed is None or secret:
                self._say("\n")
            if typed is None:
                self._say("no answer in time\n")
            return typed

    def _wait(self, answer: queue.SimpleQueue[bytearray | None]) -> bytearray | None:
        deadline = time.monotonic() + self._timeout_s
        with suppress(queue.Empty):
            return answer.get(timeout=max(0.0, deadline - time.monotonic()))
        return None

    @contextmanager
    def _echo_off(self, wanted: bool) -> Iterator[None]:
        if not wanted:
            yield
            return
        before = termios.tcgetattr(self._descriptor)
        silent = before.copy()
        silent[3] &= ~termios.ECHO
        termios.tcsetattr(self._descriptor, termios.TCSANOW, silent)
        try:
            yield
        finally:
            with suppress(termios.error):
                termios.tcsetattr(self._descriptor, termios.TCSANOW, before)

    # Reading

    def _read(self) -> None:
        buffered = bytearray()
        while not self._closed.is_set():
            ready, _, _ = select.select([self._descriptor, self._wake_read], [], [])
            if self._descriptor not in ready:
                break
            try:
                data = os.read(self._descriptor, 4096)
            except OSError:
                data = b""
            if not data:
                break  # the terminal is gone: later questions run into their timeout
            buffered += data
            wipe(data)
            self._take_lines(buffered)
        self._deliver(None)

    def _take_lines(self, buffered: bytearray) -> None:
        while (end := buffered.find(b"\n")) >= 0:
            line = buffered[:end]
            buffered[: end + 1] = b""
            self._deliver(line)
        if len(buffered) > MAX_LINE_BYTES:
            wipe(buffered)
            buffered.clear()

    def _deliver(self, line: bytearray | None) -> None:
        with self._answer_lock:
            answer, self._answer = self._answer, None
        if answer is not None:
            answer.put(line)
        elif line:
            command = line.decode("ascii", "replace").strip()
            if command:
                self._on_command(command)

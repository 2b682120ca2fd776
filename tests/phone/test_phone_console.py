"""The terminal that stands for the phone's screen and keys, on a pseudo-terminal."""

from __future__ import annotations

import os
import termios
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from phone_link.phone.approval import AutomaticApprover, NobodyThere, Question
from phone_link.phone.console import Console

QUESTION = Question("laptop", "unlock", "mount ~/v")


class Terminal:
    def __init__(self, timeout_s: float) -> None:
        self.keyboard, self._slave = os.openpty()
        self.said: list[str] = []
        self.commands: list[str] = []
        self._changed = threading.Condition()
        self.console = Console(self._say, self._command, descriptor=self._slave, ask_timeout_s=timeout_s)
        self.console.start()

    def _say(self, text: str) -> None:
        with self._changed:
            self.said.append(text)
            self._changed.notify_all()

    def _command(self, text: str) -> None:
        with self._changed:
            self.commands.append(text)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, 20), (self.said, self.commands)

    def type(self, text: str) -> None:
        os.write(self.keyboard, text.encode())

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._slave)[3] & termios.ECHO)

    def close(self) -> None:
        self.console.close()
        os.close(self.keyboard)
        os.close(self._slave)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(timeout_s=30)
    yield terminal
    terminal.close()


class Asking:
    """A question in a thread of its own."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self.result: object = "nothing"
        self._thread = threading.Thread(target=self._run, args=(ask,))
        self._thread.start()

    def _run(self, ask: Callable[[], object]) -> None:
        self.result = ask()

    def answer(self) -> object:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.result


@pytest.mark.parametrize(
    ("typed", "granted", "how"),
    [
        ("y\n", True, "approved"),
        (" YES \n", True, "approved"),
        ("n\n", False, "refused on the phone"),
        ("\n", False, "refused on the phone"),
        ("yy\n", False, "refused on the phone"),
    ],
)
def test_only_yes_is_consent(terminal: Terminal, typed: str, granted: bool, how: str) -> None:
    asking = Asking(lambda: terminal.console.approve(QUESTION))
    terminal.wait(lambda: bool(terminal.said))
    assert terminal.said == ["unlock for laptop: mount ~/v? [y/N] "]
    terminal.type(typed)
    answer = asking.answer()
    assert (answer.granted, answer.how) == (granted, how)  # type: ignore[attr-defined]
    assert terminal.commands == []


def test_no_answer_in_time_is_no() -> None:
    terminal = Terminal(timeout_s=0.05)
    try:
        answer = terminal.console.approve(QUESTION)
        assert not answer.granted and answer.how == "no answer"
        assert terminal.console.compare_code("123 456", "desktop") is None
        terminal.type("y\n")  # too late: it is a command now, and consent to nothing
        terminal.wait(lambda: terminal.commands == ["y"])
    finally:
        terminal.close()


def test_questions_come_one_after_the_other(terminal: Terminal) -> None:
    first = Asking(lambda: terminal.console.approve(QUESTION))
    terminal.wait(lambda: len(terminal.said) == 1)
    second = Asking(lambda: terminal.console.compare_code("123 456", "desktop"))
    terminal.type("y\n")
    assert first.answer().granted  # type: ignore[attr-defined]
    terminal.wait(lambda: len(terminal.said) == 2)
    assert terminal.said[1] == "does desktop show 123 456? [y/N] "
    terminal.type("n\n")
    assert second.answer() is False


def test_a_pin_is_typed_without_echo(terminal: Terminal) -> None:
    asking = Asking(lambda: terminal.console.ask_pin("laptop"))
    terminal.wait(lambda: bool(terminal.said))
    assert not terminal.echoes()
    terminal.type("1234\n")
    assert asking.answer() == b"1234"
    assert terminal.echoes()
    asking = Asking(lambda: terminal.console.ask_pin("laptop"))
    terminal.wait(lambda: len(terminal.said) == 3)
    terminal.type("\n")
    assert asking.answer() is None


def test_other_lines_are_commands(terminal: Terminal) -> None:
    terminal.type("lock\n\n  status \n")
    terminal.wait(lambda: len(terminal.commands) == 2)
    assert terminal.commands == ["lock", "status"]


def test_closing_answers_the_question_with_no(terminal: Terminal) -> None:
    asking = Asking(lambda: terminal.console.approve(QUESTION))
    terminal.wait(lambda: bool(terminal.said))
    terminal.console.close()
    terminal.console.close()
    answer = asking.answer()
    assert not answer.granted  # type: ignore[attr-defined]
    start = time.monotonic()
    assert terminal.console.ask_pin("laptop") is None
    assert time.monotonic() - start < 25  # at once, not after the question's time


def test_answers_that_need_nobody() -> None:
    assert AutomaticApprover().approve(QUESTION).granted
    assert not NobodyThere().approve(QUESTION).granted
    assert AutomaticApprover().ask_pin("x") is None and NobodyThere().ask_pin("x") is None

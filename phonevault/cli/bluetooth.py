"""`phonevault phone pair bluetooth:…`: find a phone, choose it, pair on the level of Bluetooth."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from phonevault.cli import phones
from phonevault.cli.output import printable, say

if TYPE_CHECKING:
    from phone_link.transport.base import Stream

SCHEME = "bluetooth:"
_T = TypeVar("_T")

AskSame = Callable[[str], bool]
"""Asks this side's user a question on the terminal, in the main thread."""


def connect(spec: str, ask: AskSame) -> Stream:
    """Connect to a phone for pairing; Bluetooth's own pairing comes first if there is no bond.

    Args:
        spec: `bluetooth:AA:BB:CC:DD:EE:FF`.
        ask: for the comparison of Bluetooth's digits, which have been shown.

    Raises:
        PairingMismatch: this side's user did not say that the digits are the same.
        LinkError: see `phone_link.transport.bluez.connect`.
    """
    from phone_link.errors import PairingMismatch, PairingRefused
    from phone_link.transport.base import TransportOptions
    from phone_link.transport.open import connect as open_stream

    answers: list[bool] = []

    def same(code: str, name: str) -> bool:
        say(
            f"Bluetooth pairing, the first of two comparisons: {printable(name)} must show {code[:3]} {code[3:]}"
        )
        answers.append(ask("Does it show the same?"))
        return answers[-1]

    desk = MainThread()
    options = TransportOptions(pairing=True, compare=lambda code, name: desk.ask(lambda: same(code, name)))
    try:
        stream = desk.run(lambda: open_stream(spec, phones.CONNECT_TIMEOUT_S, options))
    except PairingRefused:
        if answers == [False]:
            raise PairingMismatch("not paired: the digits were not said to be the same") from None
        raise
    if answers:
        say("paired by Bluetooth; now phonevault's own comparison")
    return stream


class MainThread:
    """Work in another thread whose questions are asked in this one, where Ctrl-C and the terminal are.

    A thread that waits for the terminal could not be ended.
    """

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def run(self, work: Callable[[], _T]) -> _T:
        """Run the work and return its result, or raise the `LinkError` of it or what a question raises."""
        from phone_link.errors import LinkError

        results: list[_T] = []
        failures: list[LinkError] = []

        def target() -> None:
            try:
                results.append(work())
            except LinkError as error:
                failures.append(error)
            finally:
                self._inbox.put(None)

        threading.Thread(target=target, name="bluetooth", daemon=True).start()
        while (question := self._inbox.get()) is not None:
            question()
        if failures:
            raise failures[0]
        return results[0]

    def ask(self, question: Callable[[], bool]) -> bool:
        """In any thread: have `run` ask, and wait for the answer."""
        answer: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._inbox.put(lambda: answer.put(question()))
        return answer.get()

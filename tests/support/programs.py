"""Programs at work in a mounted folder, from several threads, while something is done to it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class Programs:
    """A subclass says what they do.

    Attributes:
        expected: what ends a thread and is kept in ``problems``.
        acknowledged: contents by name that an fsync has promised.
        rounds: how often a file was written.
    """

    expected: tuple[type[BaseException], ...] = (OSError,)

    def __init__(self, place: Path) -> None:
        self.place = place
        self.acknowledged: dict[str, bytes] = {}
        self.problems: list[BaseException] = []
        self.rounds = 0
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._guarded, args=(each,)) for each in self.work()]

    def work(self) -> Sequence[Callable[[int], None]]:
        """What each thread does again and again, told how often it was done before."""
        raise NotImplementedError

    def _guarded(self, work: Callable[[int], None]) -> None:
        number = 0
        try:
            while not self._end.is_set():
                work(number)
                number += 1
        except self.expected as error:
            self.problems.append(error)

    def put(self, number: int, name: str, data: bytes) -> None:
        """Write a file, fsync it, and read it back."""
        self.acknowledged.pop(name, None)
        with (self.place / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.acknowledged[name] = data
        assert (self.place / name).read_bytes() == data
        self.rounds = number

    @contextmanager
    def at_work(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in self._threads:
                thread.join()

    def check(self) -> None:
        """What was acknowledged is there."""
        for name, data in self.acknowledged.items():
            assert (self.place / name).read_bytes() == data, name

"""Which worker reads from the kernel, and how long it asks before it sleeps: a session over a socket in the place of /dev/fuse."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from phonevault.fuse import abi
from phonevault.fuse.lead import Lead, Member
from phonevault.fuse.patience import SPIN_NS, Patience
from phonevault.fuse.request import Handler, Operations, Request
from phonevault.fuse.session import Session
from phonevault.fuse.wakefulness import BUSY_REQUESTS, QUIET_TICKS, Wakefulness, asleep, wakefulness

_ANSWER_S = 10
_LOOKUP, _GETATTR, _READ = int(abi.Opcode.LOOKUP), int(abi.Opcode.GETATTR), int(abi.Opcode.READ)


class _MockKernel:
    """The other end of a session. A packet is one message, as with /dev/fuse."""

    def __init__(self, handlers: dict[int, Handler], wakeful: Wakefulness | None) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_ANSWER_S)
        self.scrubbed: set[int] = set()
        operations = Operations(
            handlers=handlers,
            init_flags=0,
            max_write=4096,
            scratch_bytes=4096,
            needs_no_keys=frozenset(),
            keyless=lambda _: False,
            drains=frozenset(),
            dirty_nodes=list,
            known_nodes=list,
            scrub=lambda: self.scrubbed.add(threading.get_ident()),
            agreed=lambda _: None,
            take_back=lambda opcode, body: None,
        )
        self.session = Session(other.detach(), operations, threads=3, wakefulness=wakeful)
        self.ask(int(abi.Opcode.INIT), 1, abi.INIT_IN.pack(7, 38, 0, 0))
        self.session.start()
        assert self.answer()[0] == 1

    def ask(self, opcode: int, unique: int, body: bytes = b"") -> None:
        size = abi.IN_HEADER.size + len(body)
        self._socket.send(abi.IN_HEADER.pack(size, opcode, unique, 1, 0, 0, 1, 0, 0) + body)

    def answer(self) -> tuple[int, int]:
        """``unique`` and errno of the next answer."""
        raw = self._socket.recv(8192)
        _, error, unique = abi.OUT_HEADER.unpack_from(raw)
        return unique, -error

    def end(self) -> None:
        self._socket.close()
        assert self.session.wait(_ANSWER_S)
        self.session.stop()


class Started(Protocol):
    """Starts a session."""

    def __call__(self, handlers: dict[int, Handler], wakeful: Wakefulness | None = None) -> _MockKernel: ...


@pytest.fixture
def kernel() -> Iterator[Started]:
    running: list[_MockKernel] = []

    def start(handlers: dict[int, Handler], wakeful: Wakefulness | None = None) -> _MockKernel:
        running.append(_MockKernel(handlers, wakeful))
        return running[-1]

    yield start
    for each in running:
        each.end()


def test_short_requests_are_served_by_one_worker(kernel: Started) -> None:
    who: list[int] = []
    mock = kernel({_GETATTR: lambda _: who.append(threading.get_ident()) or b""})
    for unique in range(2, 200):
        mock.ask(_GETATTR, unique)
        assert mock.answer() == (unique, 0)
    # A worker that the machine holds up loses the lead: not at every second request, as if both read.
    changes = sum(before != after for before, after in itertools.pairwise(who))
    assert changes < len(who) / 3


def test_a_request_that_takes_long_does_not_keep_others_waiting(kernel: Started) -> None:
    release = threading.Event()
    mock = kernel({_READ: lambda _: release.wait(_ANSWER_S) and b"", _GETATTR: lambda _: b""})
    mock.ask(_READ, 2)
    mock.ask(_READ, 3)
    mock.ask(_GETATTR, 4)
    assert mock.answer() == (4, 0)
    release.set()
    assert {mock.answer(), mock.answer()} == {(2, 0), (3, 0)}
    mock.ask(_GETATTR, 5)
    assert mock.answer() == (5, 0)


def test_after_a_quiet_time_a_long_request_is_noticed_again(kernel: Started) -> None:
    release = threading.Event()
    mock = kernel({_READ: lambda _: release.wait(_ANSWER_S) and b"", _GETATTR: lambda _: b""})
    lead = mock.session._lead
    waited = threading.Event()
    while not lead.asleep:  # nobody watches while nothing happens
        waited.wait(0.01)
    mock.ask(_READ, 2)
    mock.ask(_GETATTR, 3)
    assert mock.answer() == (3, 0)
    release.set()
    assert mock.answer() == (2, 0)


def test_a_bug_in_a_handler_is_an_error_and_the_worker_goes_on(kernel: Started) -> None:
    def broken(request: Request) -> bytes:
        raise KeyError(request.opcode)

    mock = kernel({_LOOKUP: broken, _GETATTR: lambda _: b""})
    mock.ask(_LOOKUP, 2)
    assert mock.answer() == (2, errno.EIO)
    mock.ask(_GETATTR, 3)
    assert mock.answer() == (3, 0)


def test_a_parked_worker_runs_errands_and_ends() -> None:
    lead, leader, parked = Lead(asleep()), Member(), Member()
    assert lead.wait(leader)
    assert leader.leads
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(lead.wait(parked)))
    thread.start()
    ran = threading.Event()
    lead.send(parked, ran.set)
    assert ran.wait(_ANSWER_S)
    assert not parked.leads
    lead.end()
    thread.join(_ANSWER_S)
    assert ended == [False]


def test_patience_follows_what_happens() -> None:
    patience = Patience(2)
    assert patience.ns == SPIN_NS
    for _ in range(20):
        patience.slept(10 * SPIN_NS)
    assert patience.ns == 0, "who asks rarely finds us asleep"
    patience.slept(SPIN_NS)
    assert patience.ns == SPIN_NS, "requests come one upon the other again"
    patience.paid()
    for _ in range(3):
        patience.slept(10 * SPIN_NS)
    assert patience.ns == SPIN_NS, "a few pauses are no change"


def test_with_one_processor_nobody_is_kept_from_working() -> None:
    patience = Patience(1)
    patience.paid()
    patience.slept(0)
    assert patience.ns == 0


def _asked(device: Path) -> list[int]:
    """What was written to the device: microseconds each."""
    return [each for (each,) in struct.iter_unpack("=i", device.read_bytes())]


def _mock_device(tmp_path: Path, driver: str = "haltpoll") -> tuple[Path, Path]:
    device, name = tmp_path / "cpu_dma_latency", tmp_path / "current_driver"
    device.touch()
    name.write_text(driver + "\n", encoding="ascii")
    return device, name


def test_processors_are_kept_awake_while_requests_come(tmp_path: Path) -> None:
    device, driver = _mock_device(tmp_path)
    wakeful = wakefulness(device, driver)
    assert not wakeful.holds
    wakeful.tick(BUSY_REQUESTS - 1)
    assert _asked(device) == [], "a request now and then is no reason"
    for _ in range(3):
        wakeful.tick(BUSY_REQUESTS)
    for _ in range(QUIET_TICKS - 1):
        wakeful.tick(0)
    wakeful.tick(BUSY_REQUESTS)
    assert wakeful.holds
    assert _asked(device) == [0], "a short pause changes nothing"
    for _ in range(QUIET_TICKS + 1):
        wakeful.tick(0)
    assert not wakeful.holds
    assert _asked(device) == [0, 2_000_000_000]
    wakeful.tick(BUSY_REQUESTS)
    wakeful.pause()
    assert _asked(device) == [0, 2_000_000_000] * 2
    wakeful.close()
    wakeful.tick(BUSY_REQUESTS)
    assert not wakeful.holds


def test_a_real_processor_may_sleep_a_little(tmp_path: Path) -> None:
    device, driver = _mock_device(tmp_path, "intel_idle")
    wakeful = wakefulness(device, driver)
    wakeful.tick(BUSY_REQUESTS)
    wakeful.close()
    assert _asked(device) == [2]


def test_a_device_that_fails_ends_nothing(tmp_path: Path) -> None:
    device, _ = _mock_device(tmp_path)
    wakeful = Wakefulness(os.open(device, os.O_RDONLY), 0)  # to write there is EBADF
    for _ in range(2):
        wakeful.tick(BUSY_REQUESTS)
        assert not wakeful.holds
    wakeful.close()


def test_without_the_right_to_it_processors_sleep(tmp_path: Path) -> None:
    wakeful = wakefulness(tmp_path / "missing", tmp_path)
    wakeful.tick(BUSY_REQUESTS)
    assert not wakeful.holds
    wakeful.close()


def test_the_worker_that_watches_keeps_them_awake_and_lets_go(kernel: Started, tmp_path: Path) -> None:
    device, driver = _mock_device(tmp_path)
    wakeful = wakefulness(device, driver)
    mock = kernel({_GETATTR: lambda _: b""}, wakeful)
    deadline = threading.Event()
    unique = 2
    while not wakeful.holds:
        mock.ask(_GETATTR, unique)
        assert mock.answer() == (unique, 0)
        unique += 1
    while wakeful.holds:
        deadline.wait(0.005)
    assert _asked(device)[-1] == 2_000_000_000


def test_nobody_keeps_them_awake_while_all_are_held_up(kernel: Started, tmp_path: Path) -> None:
    device, driver = _mock_device(tmp_path)
    wakeful = wakefulness(device, driver)
    release = threading.Event()
    mock = kernel({_READ: lambda _: release.wait(_ANSWER_S) and b"", _GETATTR: lambda _: b""}, wakeful)
    unique = 2
    while not wakeful.holds:
        mock.ask(_GETATTR, unique)
        mock.answer()
        unique += 1
    for hung in range(3):  # as many as there are workers
        mock.ask(_READ, unique + hung)
    pause = threading.Event()
    while wakeful.holds:
        pause.wait(0.005)
    release.set()
    for _ in range(3):
        assert mock.answer()[1] == 0


@pytest.mark.skipif(
    not os.access("/dev/cpu_dma_latency", os.W_OK), reason="/dev/cpu_dma_latency is root's, if it is there"
)
def test_the_kernel_takes_what_is_asked() -> None:
    wakeful = wakefulness()
    wakeful.tick(BUSY_REQUESTS)
    assert wakeful.holds
    now_us = int.from_bytes(Path("/dev/cpu_dma_latency").read_bytes()[:4], "little", signed=True)
    assert 0 <= now_us <= 2
    wakeful.close()

"""Which worker reads from the kernel, and how long it asks before it sleeps: a session over a socket in the place of /dev/fuse."""

from __future__ import annotations

import errno
import itertools
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from phonevault.fuse import abi
from phonevault.fuse.lead import Lead, Member
from phonevault.fuse.patience import SPIN_NS, Patience
from phonevault.fuse.request import Handler, Operations, Request
from phonevault.fuse.session import Session

_ANSWER_S = 10
_LOOKUP, _GETATTR, _READ = int(abi.Opcode.LOOKUP), int(abi.Opcode.GETATTR), int(abi.Opcode.READ)


class _MockKernel:
    """The other end of a session. A packet is one message, as with /dev/fuse."""

    def __init__(self, handlers: dict[int, Handler]) -> None:
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
        )
        self.session = Session(other.detach(), operations, threads=3)
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


Started = Callable[[dict[int, Handler]], _MockKernel]


@pytest.fixture
def kernel() -> Iterator[Started]:
    running: list[_MockKernel] = []

    def start(handlers: dict[int, Handler]) -> _MockKernel:
        running.append(_MockKernel(handlers))
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
    lead, leader, parked = Lead(), Member(), Member()
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

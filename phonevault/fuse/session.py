"""Serves one mount: workers that read, dispatch and reply; freezing and locking it behind its gate (fuse/gate.py)."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence

from phonevault.fuse import abi
from phonevault.fuse.device import Device, parse
from phonevault.fuse.errors import ProtocolMismatch
from phonevault.fuse.flusher import Flusher
from phonevault.fuse.gate import Gate, Hold, Mode, Verdict
from phonevault.fuse.lead import Lead, Member
from phonevault.fuse.request import FlushFirst, Operations, Request, untouched
from phonevault.fuse.wakefulness import Wakefulness, asleep

log = logging.getLogger(__name__)

_MAX_READAHEAD_BYTES = 1 << 20
_MAX_BACKGROUND = 64
_POLL_S = 0.002
_STILL_POLL_S = 0.0002
_SCRUB_S = 2.0
_MINOR_INC_EPOCH = 44
_TELLS = frozenset(
    {
        abi.Opcode.READ,
        abi.Opcode.READLINK,
        abi.Opcode.READDIR,
        abi.Opcode.READDIRPLUS,
        abi.Opcode.GETXATTR,
        abi.Opcode.LISTXATTR,
    }
)
"""Requests whose answer is plaintext, and that change nothing; what one of them counts is taken back."""


class _Worker(Member):
    """One thread's buffers, and its part in the lead."""

    __slots__ = ("buffer", "request", "scrub", "scrubbed")

    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self.scrubbed = True
        self.scrub = operations.scrub
        self.buffer = untouched(operations.max_write + abi.PAGE_BYTES)
        self.request = Request(operations.scratch_bytes)

    def wipe(self) -> None:
        """Overwrite what requests left. Only the worker itself may: for others the kernel may be filling the buffer just now."""
        if self.scrubbed:
            return
        self.request.wipe_scratch()
        self.buffer[:] = bytes(len(self.buffer))
        self.scrub()
        self.scrubbed = True


class Session:
    """Serves the requests of one mount with a fixed number of threads.

    Args:
        fd: an open /dev/fuse descriptor of a fresh mount; the session closes it.
        operations: the file system.
        threads: how many requests are served at a time, if they take long (fuse/lead.py).
        mountpoint: where it is mounted; a lock asks for it, so that the worker that reads wakes and scrubs its stack.
        wakefulness: keeps processors from sleeping while there is much to do; the session closes it. None: nothing does.
    """

    def __init__(
        self,
        fd: int,
        operations: Operations,
        threads: int = 4,
        mountpoint: str | os.PathLike[str] | None = None,
        wakefulness: Wakefulness | None = None,
    ) -> None:
        self._mountpoint = mountpoint
        self._device = Device(fd)
        self._operations = operations
        self._handlers = dict(operations.handlers)
        self._gate = Gate(operations)
        self._one_holds = threading.Lock()
        self._kernel_minor = 0
        self._ended = threading.Event()
        self._flusher = Flusher(self._flush, self._serve_flushed)
        self._wakefulness = wakefulness or asleep()
        self._lead = Lead(self._wakefulness)
        self._workers = [_Worker(operations) for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._serve, args=(worker,), name=f"fuse-{number}", daemon=True)
            for number, worker in enumerate(self._workers)
        ]

    # -- life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Shake hands with the kernel (FUSE_INIT) and start to serve.

        Raises:
            ProtocolMismatch: the kernel is too old.
        """
        worker = self._workers[0]
        if not self._device.receive(worker.buffer, worker.request):
            raise ProtocolMismatch("the mount ended before it began")
        self._handshake(worker.request)
        for thread in self._threads:
            thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until the file system is unmounted; False at a timeout."""
        return self._ended.wait(timeout_s)

    @property
    def ended(self) -> bool:
        """Whether the file system is unmounted."""
        return self._ended.is_set()

    def stop(self) -> None:
        """After the unmount: wait for the workers and close the descriptor."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join(5)
        self._flusher.stop()
        self._wakefulness.close()
        with contextlib.suppress(OSError):
            os.close(self._device.fd)

    # -- the gate -----------------------------------------------------------------------------------------

    @property
    def mode(self) -> Mode:
        """What happens to requests now."""
        return self._gate.mode

    def freeze(self) -> None:
        """From now on new requests wait unanswered; those being served are finished."""
        self._gate.change(Mode.FROZEN, only_from=Mode.OPEN)

    def thaw(self) -> None:
        """Serve what waited, and everything that comes."""
        self._gate.change(Mode.OPEN)
        self._serve_waiting()

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Nobody uses the tree while the body runs: what comes waits unanswered, what is being served is finished first.

        A request may be waiting for dirty data to come home (fuse/flusher.py), so that is served until then.
        """
        with self._one_holds:
            self._gate.hold(Hold.COMING)
            try:
                while self._flusher.busy and not self._ended.is_set():
                    time.sleep(_POLL_S)
                self._gate.hold(Hold.STILL)
                while any(worker.busy for worker in self._workers) and not self._ended.is_set():
                    time.sleep(_STILL_POLL_S)
                yield
            finally:
                self._gate.hold(Hold.NONE)
                self._serve_waiting()

    def unlock(self) -> None:
        """Serve again after a lock; the file system must have its keys."""
        self.thaw()

    def lock(self, timeout_s: float) -> bool:
        """Bring dirty data home, then answer ENOKEY to everything; nothing uses keys when this returns True.

        The kernel writes a file's dirty pages back when told to drop them (``fuse_reverse_inval_inode``), so those WRITE
        requests are served while all others wait. Data that cannot be written back within ``timeout_s`` is lost to the
        writer, who is told at close or fsync: it was never acknowledged.

        Returns:
            False if a request that may use keys was still being served at the end.
        """
        deadline = time.monotonic() + timeout_s
        self._gate.change(Mode.DRAINING)
        self._serve_waiting()
        drain = threading.Thread(target=self._invalidate, args=(self._operations.dirty_nodes(),), daemon=True)
        drain.start()
        drain.join(max(0.0, deadline - time.monotonic()))
        if drain.is_alive():
            log.warning("lock: not all dirty data could be written back in time")
        self._gate.change(Mode.LOCKED)
        self._serve_waiting()
        idle = self._wait_idle(max(deadline, time.monotonic() + 0.5))
        self._scrub_workers()
        threading.Thread(target=self._forget_everything, name="fuse-invalidate", daemon=True).start()
        return idle

    def _scrub_workers(self) -> None:
        """Let every worker overwrite its buffers, and its dead stack, where AES leaves parts of keys.

        Parked ones are sent to do it. The one that reads blocks in read(2): it is made to answer a request, for the mount point's status.
        """
        if self._mountpoint is None:
            return
        for worker in self._workers:
            worker.scrubbed = False
        for worker in self._workers:
            self._lead.send(worker, worker.wipe)
        self._invalidate([abi.ROOT_ID])
        deadline = time.monotonic() + _SCRUB_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                os.stat(self._mountpoint)
            if all(worker.scrubbed for worker in self._workers) or self._ended.is_set():
                return
            time.sleep(_POLL_S)
        log.warning("lock: not every worker could wipe its memory")

    def _wait_idle(self, deadline: float) -> bool:
        while self._flusher.busy or any(worker.busy for worker in self._workers):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def _forget_everything(self) -> None:
        """Make the kernel drop cached names, attributes and pages."""
        nodes = self._operations.known_nodes()
        if self._kernel_minor >= _MINOR_INC_EPOCH:
            with contextlib.suppress(OSError):
                self._device.notify(abi.Notify.INC_EPOCH, b"")
        self._invalidate(nodes)

    def _invalidate(self, nodes: Sequence[int]) -> None:
        for node in nodes:
            if self._gate.mode is Mode.OPEN or self._ended.is_set():
                return
            try:
                self._device.notify(abi.Notify.INVAL_INODE, abi.NOTIFY_INVAL_INODE.pack(node, 0, 0))
            except OSError as error:
                if error.errno != errno.ENOENT:
                    log.debug("invalidate: %s", error.strerror)

    # -- serving ------------------------------------------------------------------------------------------

    def _serve(self, worker: _Worker) -> None:
        try:
            while self._lead.wait(worker):
                if not self._take_requests(worker):
                    break
        finally:
            worker.busy = False
            self._ended.set()
            self._lead.end()

    def _take_requests(self, worker: _Worker) -> bool:
        """Serve until another worker leads; False once the file system is unmounted."""
        device, request, lead, handlers = self._device, worker.request, self._lead, self._handlers
        receive, buffer, gate = device.receive, worker.buffer, self._gate
        while receive(buffer, request):
            # Set before the gate is asked: lock() closes it, then waits for `busy` to clear.
            worker.busy = True
            worker.served += 1
            if lead.asleep:
                lead.rouse()
            if gate.is_open:
                self._answer(handlers.get(request.opcode), request)
            else:
                self._pass(request)
                if gate.is_locked:
                    request.wipe_body()  # a kernel that does not know of the lock sends data even now
                    worker.wipe()
            worker.busy = False
            if not worker.leads:
                return True
        return False

    def _answer(self, handler: object, request: Request) -> None:
        if handler is None:
            self._device.reply_error(request.unique, errno.ENOSYS)
            return
        try:
            body = handler(request)  # type: ignore[operator]
        except OSError as error:
            self._device.reply_error(request.unique, error.errno or errno.EIO)
        except FlushFirst:
            self._flusher.take(request)
        except Exception:
            log.exception("request %d failed by a bug", request.opcode)
            self._device.reply_error(request.unique, errno.EIO)
        else:
            if body is None:
                return
            if self._gate.is_locked and request.opcode in _TELLS:
                # It outlived the lock (a hung disk): what it read must not get into the kernel's caches now.
                self._operations.take_back(request.opcode, body)
                self._device.reply_error(request.unique, errno.ENOKEY)
                return
            self._device.reply(request.unique, body)

    def _pass(self, request: Request) -> None:
        """A request while the gate is not open."""
        if request.opcode == abi.Opcode.INTERRUPT:
            self._interrupt(abi.INTERRUPT_IN.unpack_from(request.body)[0])
            return
        verdict = self._gate.judge(request)
        if verdict is Verdict.SERVE:
            self._answer(self._handlers.get(request.opcode), request)
        elif verdict is Verdict.REFUSE:
            self._device.reply_error(request.unique, errno.ENOKEY)

    def _flush(self, node: int) -> bool:
        """Bring a node's dirty pages home. Not while the mount is frozen: nobody would answer, so the request is parked instead."""
        if self._gate.mode is not Mode.OPEN:
            return False
        with contextlib.suppress(OSError):
            self._device.notify(abi.Notify.INVAL_INODE, abi.NOTIFY_INVAL_INODE.pack(node, 0, 0))
        return True

    def _serve_flushed(self, request: Request) -> None:
        self._take_up(request)
        self._operations.scrub()

    def _serve_waiting(self) -> None:
        """Take up what waited; what must wait on does so."""
        request: Request | None = None
        try:
            for message in self._gate.waiting():
                request = request or Request(self._operations.scratch_bytes)
                parse(memoryview(message), len(message), request)
                try:
                    self._take_up(request)
                except OSError:  # the kernel takes no answer to this one; the others wait, too
                    log.exception("request %d could not be answered", request.opcode)
        finally:
            if request is not None:
                request.wipe_scratch()

    def _take_up(self, request: Request) -> None:
        """A request that waited, under what holds now."""
        if self._gate.is_open:
            self._answer(self._handlers.get(request.opcode), request)
        else:
            self._pass(request)

    def _interrupt(self, unique: int) -> None:
        """The caller of a waiting request was signalled: let it go with EINTR."""
        if self._gate.withdraw(unique):
            self._device.reply_error(unique, errno.EINTR)

    def _handshake(self, request: Request) -> None:
        """FUSE_INIT."""
        major, minor, readahead, offered = abi.INIT_IN.unpack_from(request.body)
        if (
            request.opcode != abi.Opcode.INIT
            or major != abi.KERNEL_VERSION
            or minor < abi.OLDEST_MINOR_VERSION
        ):
            self._device.reply_error(request.unique, errno.EPROTO)
            raise ProtocolMismatch(f"the kernel speaks FUSE {major}.{minor}; 7.31 or later is needed")
        self._kernel_minor = minor
        self._operations.agreed(self._operations.init_flags & offered)
        self._device.reply(
            request.unique,
            abi.INIT_OUT.pack(
                abi.KERNEL_VERSION,
                max(min(minor, _MINOR_INC_EPOCH), abi.OLDEST_MINOR_VERSION),
                min(readahead, _MAX_READAHEAD_BYTES) or readahead,
                self._operations.init_flags & offered,
                _MAX_BACKGROUND,
                _MAX_BACKGROUND * 3 // 4,
                self._operations.max_write,
                1,
                self._operations.max_write // abi.PAGE_BYTES,
                0,
                0,
            ),
        )

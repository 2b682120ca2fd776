"""A Bluetooth adapter over HCI: commands with their answers, events, and the thread that reads them."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable

from phone_link.errors import LinkClosed, LinkError, LinkTimeout, ProtocolError
from phone_link.transport.base import READ_SIZE
from phone_link.transport.classic import hci

JOIN_TIMEOUT_S = 0.5

EventHandler = Callable[[bytes], None]


class Adapter:
    """Drives one controller.

    All state of the stack above (link, channels) is guarded by `changed`, a condition with a
    re-entrant lock: the reader thread handles each packet while holding it and then wakes everybody.

    Args:
        sock: A connected stream socket that speaks H4; owned from now on.

    Attributes:
        changed: Guards all state; notified after every packet.
        lost: Why the adapter is gone, None while it is there.
        address: Our BD_ADDR as on the wire, after `power_on`.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.changed = threading.Condition()
        self.lost: str | None = None
        self.address = bytes(6)
        self.acl_bytes = 0
        self.acl_slots = 0
        self.on_acl: Callable[[int, bytes], None] | None = None
        self._handlers: dict[int, EventHandler] = {
            hci.COMMAND_COMPLETE: self._on_command_complete,
            hci.COMMAND_STATUS: self._on_command_status,
        }
        self._socket = sock
        self._splitter = hci.PacketSplitter()
        self._allowance = 1
        self._queue: deque[bytes] = deque()
        self._answers: dict[int, bytes] = {}
        self._thread = threading.Thread(target=self._run, name="bluetooth", daemon=True)
        self._thread.start()

    def handle(self, event: int, handler: EventHandler) -> None:
        """Have the parameters of an event passed to a handler, in the reader thread with the lock held."""
        with self.changed:
            self._handlers[event] = handler

    def power_on(self, deadline: float) -> None:
        """Reset the controller, learn its address and buffers, switch Secure Simple Pairing on."""
        self.command(hci.RESET, b"", deadline)
        self.command(hci.SET_EVENT_MASK, hci.ALL_EVENTS, deadline)
        self.command(hci.WRITE_SIMPLE_PAIRING_MODE, b"\1", deadline)
        self.address = self.command(hci.READ_BD_ADDR, b"", deadline)[:6]
        sizes = self.command(hci.READ_BUFFER_SIZE, b"", deadline)
        if len(sizes) < 7:
            raise ProtocolError("the Bluetooth adapter gives no buffer sizes")
        self.acl_bytes, _, self.acl_slots, _ = struct.unpack_from("<HBHH", sizes)
        if self.acl_bytes < 27 or self.acl_slots == 0:
            raise LinkError("the Bluetooth adapter has no BR/EDR buffers")

    def post(self, opcode: int, parameters: bytes) -> None:
        """Send a command as soon as the controller takes one; do not wait for its answer."""
        with self.changed:
            self._answers.pop(opcode, None)
            self._queue.append(hci.command(opcode, parameters))
            self._send_commands()

    def command(self, opcode: int, parameters: bytes, deadline: float) -> bytes:
        """Send a command and wait for its Command Complete or Command Status.

        Args:
            opcode: OGF and OCF.
            parameters: As in its clause of Vol 4 Part E 7.
            deadline: Monotonic time.

        Returns:
            The return parameters without the status.

        Raises:
            LinkError: The controller refused.
            LinkTimeout: No answer until the deadline.
            LinkClosed: The adapter is gone.
        """
        with self.changed:
            self.post(opcode, parameters)
            self.wait(lambda: opcode in self._answers, deadline, "the Bluetooth adapter does not answer")
            answer = self._answers.pop(opcode)
        if not answer or answer[0] != hci.SUCCESS:
            status = answer[0] if answer else 0x1F
            raise LinkError(f"the Bluetooth adapter refused a command (0x{opcode:04X}, error 0x{status:02X})")
        return answer[1:]

    def wait(self, condition: Callable[[], bool], deadline: float | None, late: str) -> None:
        """Wait, with `changed` held by the caller, until something holds.

        Raises:
            LinkTimeout: With the message `late`, at the deadline (monotonic; None never comes).
            LinkClosed: The adapter is gone.
        """
        while not condition():
            if self.lost is not None:
                raise LinkClosed(self.lost)
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                raise LinkTimeout(late)
            self.changed.wait(remaining)

    def send(self, packet: bytes) -> None:
        """Send one H4 packet."""
        try:
            self._socket.sendall(packet)
        except OSError:
            self._lose("the Bluetooth adapter is gone")

    def close(self) -> None:
        """Release the controller; idempotent, returns within half a second."""
        # Not under the lock: whoever holds it may be stuck in a send, which this very call ends.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._thread:
            self._thread.join(JOIN_TIMEOUT_S)

    def _run(self) -> None:
        reason = "the Bluetooth adapter is gone"
        try:
            while data := self._socket.recv(READ_SIZE):
                with self.changed:
                    for kind, field, payload in self._splitter.feed(data):
                        self._dispatch(kind, field, payload)
                    self.changed.notify_all()
        except OSError:
            pass
        except (ProtocolError, struct.error, IndexError):
            reason = "malformed data from the Bluetooth link"
        finally:
            self._lose(reason)
            self._socket.close()

    def _dispatch(self, kind: int, field: int, payload: bytes) -> None:
        if kind == hci.ACL_PACKET:
            if self.on_acl is not None:
                self.on_acl(field, payload)
        elif handler := self._handlers.get(field):
            handler(payload)

    def _lose(self, reason: str) -> None:
        with self.changed:
            if self.lost is None:
                self.lost = reason
            self.changed.notify_all()

    def _send_commands(self) -> None:
        while self._queue and self._allowance > 0:
            self._allowance -= 1
            self.send(self._queue.popleft())

    def _on_command_complete(self, parameters: bytes) -> None:
        allowance, opcode = struct.unpack_from("<BH", parameters)
        self._answers[opcode] = parameters[3:]
        self._allowance = allowance
        self._send_commands()

    def _on_command_status(self, parameters: bytes) -> None:
        status, allowance, opcode = struct.unpack_from("<BBH", parameters)
        self._answers[opcode] = bytes([status])
        self._allowance = allowance
        self._send_commands()

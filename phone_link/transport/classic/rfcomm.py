"""An RFCOMM session with one data channel (RFCOMM specification 1.2), as its initiator."""

from __future__ import annotations

from collections.abc import Callable

from phone_link.errors import LinkClosed, LinkError, ProtocolError
from phone_link.transport.classic import rfcomm_frames as frames
from phone_link.transport.classic.l2cap import Channel, L2cap
from phone_link.transport.classic.rfcomm_frames import ControlMessage, Frame, Parameters

FRAME_BYTES = 1000
INITIAL_CREDITS = 7
MAX_CREDITS = 32
"""Frames the peer may have under way or we hold unread: bounds what a fast peer can pile up, 32 KB."""
REFILL_BELOW = 16
FRAME_OVERHEAD_BYTES = 6


class DataChannel:
    """A data channel and the session that carries it.

    Apart from `open` everything runs with the adapter's lock held.

    Attributes:
        received: Frames of the peer that nobody has read yet; whoever takes them calls `grant_credits`.
        credits: Frames we may send.
        ever_received: Whether any data ever came.
    """

    def __init__(self, l2cap: L2cap) -> None:
        self.received: list[bytes] = []
        self.credits = 0
        self.ever_received = False
        self._closed: str | None = None
        self._l2cap = l2cap
        self._link = l2cap.link
        self._channel: Channel | None = None
        self._dlci = 0
        self._acknowledged: set[int] = set()
        self._refused = False
        self._negotiated: Parameters | None = None
        self._granted = INITIAL_CREDITS

    @property
    def closed(self) -> str | None:
        """Why the channel is over, None while it is usable."""
        if self._closed is None and self._channel is not None:
            return self._link.closed or self._link.adapter.lost or self._channel.closed
        return self._closed

    def open(self, number: int, deadline: float) -> None:
        """Open the session and in it the peer's server channel.

        Raises:
            ServiceRefusedError: The peer has no such server channel.
            LinkError: Something else went wrong.
        """
        self._channel = self._l2cap.open(frames.PSM, self._on_frame, deadline)
        with self._link.adapter.changed:
            self._send(Frame(frames.SABM, 0, command=True))
            self._await_acknowledgement(0, deadline)
            self._dlci = number << 1
            wanted = Parameters(self._dlci, frames.CREDIT_FLOW_REQUEST, FRAME_BYTES, INITIAL_CREDITS)
            self._control(ControlMessage(frames.PN, True, wanted.encode()))
            late = "the phone does not answer on its RFCOMM channel"
            self._wait(lambda: self._negotiated is not None or self._refused, deadline, late)
            self._check_refusal()
            self._send(Frame(frames.SABM, self._dlci, command=True))
            self._await_acknowledgement(self._dlci, deadline)
            status = bytes([self._dlci << 2 | 3, frames.MODEM_READY])
            self._control(ControlMessage(frames.MSC, True, status))

    @property
    def frame_bytes(self) -> int:
        """Largest piece of data for one frame."""
        assert self._channel is not None and self._negotiated is not None
        return min(self._negotiated.frame_bytes, self._channel.peer_mtu - FRAME_OVERHEAD_BYTES)

    def send_data(self, data: bytes) -> None:
        """Send one frame of at most `frame_bytes`; the caller has seen that there is a credit."""
        self.credits -= 1
        self._send_with_credits(data)

    def grant_credits(self) -> None:
        """Let the peer send more, once the reader has taken enough."""
        if self._granted <= REFILL_BELOW and self._room() > 0 and self.closed is None:
            self._send_with_credits(b"")

    def disconnect(self) -> None:
        """Ask the peer to close the data channel; `closed` is set when it has."""
        if self.closed is None:
            self._send(Frame(frames.DISC, self._dlci, command=True))
            self._acknowledged.discard(self._dlci)

    def abandon(self) -> None:
        """Close the session that carries the channel, after a refusal."""
        if self._channel is not None:
            self._l2cap.close(self._channel)

    @property
    def disconnected(self) -> bool:
        """Whether the peer has answered `disconnect`, or everything is over anyway."""
        return self.closed is not None or self._dlci in self._acknowledged

    def _room(self) -> int:
        return MAX_CREDITS - self._granted - len(self.received)

    def _send_with_credits(self, data: bytes) -> None:
        granted = self._room() if self._granted <= REFILL_BELOW else 0
        self._granted += granted
        self._send(Frame(frames.UIH, self._dlci, True, granted > 0, data, granted))

    def _send(self, frame: Frame) -> None:
        assert self._channel is not None
        self._channel.send(frame.encode())

    def _control(self, message: ControlMessage) -> None:
        self._send(Frame(frames.UIH, 0, command=True, poll=False, information=message.encode()))

    def _wait(self, condition: Callable[[], bool], deadline: float, late: str) -> None:
        self._link.wait(lambda: self.closed is not None or condition(), deadline, late)
        if self.closed is not None:
            raise LinkClosed(self.closed)

    def _await_acknowledgement(self, dlci: int, deadline: float) -> None:
        late = "the phone does not open its RFCOMM channel"
        self._wait(lambda: dlci in self._acknowledged or self._refused, deadline, late)
        self._check_refusal()

    def _check_refusal(self) -> None:
        if self._refused:
            raise ServiceRefusedError("the phone refuses its RFCOMM channel")

    def _on_frame(self, payload: bytes) -> None:
        frame = frames.parse(payload)
        if frame.dlci not in (0, self._dlci):
            if frame.kind in (frames.SABM, frames.DISC):
                self._send(Frame(frames.DM, frame.dlci, command=True))
        elif frame.kind == frames.UA:
            self._acknowledged.add(frame.dlci)
        elif frame.kind == frames.DM:
            self._refused = True
            if self._dlci in self._acknowledged:
                self._closed = self._closed or "the phone closed the connection"
        elif frame.kind == frames.DISC:
            self._send(Frame(frames.UA, frame.dlci, command=False))
            self._closed = self._closed or "the phone closed the connection"
        elif frame.kind == frames.UIH and frame.dlci == 0:
            self._on_control(frames.parse_control(frame.information))
        elif frame.kind == frames.UIH:
            self._on_data(frame)

    def _on_data(self, frame: Frame) -> None:
        self.credits += frame.credits
        if not frame.information:
            return
        if self._granted <= 0 or len(frame.information) > FRAME_BYTES:
            raise ProtocolError("the phone sends more than it was allowed to")
        self._granted -= 1
        self.ever_received = True
        self.received.append(frame.information)

    def _on_control(self, message: ControlMessage) -> None:
        if message.kind == frames.PN and not message.command:
            self._on_negotiated(Parameters.parse(message.value))
        elif message.command and message.kind in (frames.MSC, frames.TEST, frames.RPN, frames.RLS):
            self._control(ControlMessage(message.kind, False, message.value))
        elif message.command:
            refused = bytes([message.kind << 2 | 3])
            self._control(ControlMessage(frames.NSC, False, refused))

    def _on_negotiated(self, answer: Parameters) -> None:
        if answer.dlci != self._dlci or self._negotiated is not None:
            return
        if answer.flow != frames.CREDIT_FLOW_RESPONSE or not 0 < answer.frame_bytes <= FRAME_BYTES:
            raise ProtocolError("the phone does not agree to RFCOMM's credit-based flow control")
        self.credits = answer.credits
        self._negotiated = answer


class ServiceRefusedError(LinkError):
    """The peer answered DM: no server on this channel."""

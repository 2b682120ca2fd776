"""Bumble's RFCOMM server, completed: closing by the peer, bounded buffers, no channel without encryption."""

from __future__ import annotations

from collections.abc import Callable

from bumble import l2cap, rfcomm

FRAME_BYTES = 1000


class FlowDlc(rfcomm.DLC):  # type: ignore[misc, unused-ignore]
    """A data channel whose peer is granted credits only as somebody reads.

    Attributes:
        unread_frames: How many received frames wait for the reader.
        on_progress: Told how many bytes still wait to be sent.
    """

    unread_frames: Callable[[], int] = staticmethod(lambda: 0)
    on_progress: Callable[[int], None] = staticmethod(lambda waiting: None)

    def rx_credits_needed(self) -> int:
        """Bumble's own renews credits at once, read or not."""
        room = self.rx_max_credits - self.rx_credits - self.unread_frames()
        return room if room > 0 and self.rx_credits <= self.rx_credits_threshold else 0

    def process_tx(self) -> None:
        """Send what can be sent, then tell the writer."""
        super().process_tx()
        self.on_progress(len(self.tx_buffer))

    def on_disc_frame(self, frame: rfcomm.RFCOMM_Frame) -> None:
        """The peer closes this channel; Bumble's own acknowledges it and does nothing else."""
        super().on_disc_frame(frame)
        self.change_state(rfcomm.DLC.State.DISCONNECTED)
        self.multiplexer.on_dlc_disconnection(self)
        self.emit(self.EVENT_CLOSE)


class FlowMultiplexer(rfcomm.Multiplexer):  # type: ignore[misc, unused-ignore]
    """A responding multiplexer whose channels are of the kind above."""

    def on_mcc_pn(self, c_r: bool, pn: rfcomm.RFCOMM_MCC_PN) -> None:
        """Answer a parameter negotiation: accept the channel or refuse it with DM."""
        accepted = self.acceptor(pn.dlci >> 1) if c_r and self.acceptor and not pn.dlci & 1 else None
        if accepted is None or pn.dlci in self.dlcs:
            self.send_frame(rfcomm.RFCOMM_Frame.dm(c_r=1, dlci=pn.dlci))
            return
        frame_bytes, credit = accepted
        frame_bytes = min(frame_bytes, pn.max_frame_size)
        dlc = FlowDlc(self, pn.dlci, frame_bytes, pn.initial_credits, frame_bytes, credit)
        self.dlcs[pn.dlci] = dlc
        dlc.on(dlc.EVENT_OPEN, lambda: self.emit(self.EVENT_DLC, dlc))
        dlc.accept()

    def on_disc_frame(self, frame: rfcomm.RFCOMM_Frame) -> None:
        """The peer ends the session and with it all channels."""
        super().on_disc_frame(frame)
        for dlc in list(self.dlcs.values()):
            dlc.abort()


class EncryptedServer(rfcomm.Server):  # type: ignore[misc, unused-ignore]
    """Accepts data channels on encrypted links only: that needs a link key, and a link key needs pairing."""

    def on_l2cap_channel_open(self, l2cap_channel: l2cap.ClassicChannel) -> None:
        """Give a new session its multiplexer."""
        multiplexer = FlowMultiplexer(l2cap_channel, rfcomm.Multiplexer.Role.RESPONDER)

        def accept(number: int) -> tuple[int, int] | None:
            return self.accept_dlc(number) if l2cap_channel.connection.is_encrypted else None

        multiplexer.acceptor = accept
        multiplexer.on(multiplexer.EVENT_DLC, self.on_dlc)

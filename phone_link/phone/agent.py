"""The agent: accepts computers, one thread each, and lets the security manager answer them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from phone_link.at.server import AtServer
from phone_link.at.types import Handler
from phone_link.channel.server import ChannelServer, PeerContext
from phone_link.errors import LinkClosed, LinkError, LinkTimeout
from phone_link.pairing.phone import PhonePairing
from phone_link.phone.dispatch import handler_for
from phone_link.phone.display import printable
from phone_link.phone.log import Event, LogEntry, UnlockLog
from phone_link.phone.pairing_desk import CompareCode, PairingDesk
from phone_link.phone.security_manager import Connection, SecurityManager
from phone_link.phone.store import Store
from phone_link.transport.base import Listener, Stream

MAX_CONNECTIONS = 8
LOCK_EVENT = "*PLOCKEV: 1"
SEND_WAIT_S = 2.0
JOIN_WAIT_S = 2.0


@dataclass(eq=False)
class Link:
    """One accepted stream: its server, and the peer once a channel is established."""

    server: AtServer
    context: PeerContext | None = None
    connection: Connection | None = None


class Agent:
    """Serves one store at one listener."""

    def __init__(
        self,
        store: Store,
        manager: SecurityManager,
        listener: Listener,
        *,
        say: Callable[[str], None],
        compare_code: CompareCode | None,
        record: Callable[[LogEntry], None],
        one_at_a_time: bool = False,
    ) -> None:
        """Set up.

        Args:
            store: the phone's store.
            manager: answers inner commands.
            listener: where computers come from; closed by `stop`.
            say: prints text for people.
            compare_code: asks the user to compare the six digits; None refuses pairing.
            record: keeps what happened.
            one_at_a_time: the listener is one cable (`pty:`, `serial:`): one computer after the other.
        """
        self._store = store
        self._manager = manager
        self._listener = listener
        self._say = say
        self._compare_code = compare_code
        self._record = record
        self._one_at_a_time = one_at_a_time
        self._static_private = store.load().static_private
        self._links: dict[Link, threading.Thread] = {}
        self._links_lock = threading.Lock()
        self._stopping = False

    # Accepting

    def accept_loop(self) -> None:
        """Accept computers until `stop`; raises `LinkError` if the listener fails."""
        while not self._stopping:
            try:
                stream = self._listener.accept(None)
            except LinkTimeout:
                continue
            except LinkClosed:
                if self._stopping:
                    return
                raise
            self._begin(stream)

    def _begin(self, stream: Stream) -> None:
        channel = ChannelServer(
            self._static_private,
            self._lookup_peer,
            lambda context: self._handler_for_peer(link, context),
            handler_for_pairing=self._handler_for_pairing if self._compare_code else None,
            peer_closed=lambda context: self._peer_closed(link),
        )
        link = Link(AtServer(stream, channel))
        channel.attach(link.server)
        thread = threading.Thread(target=self._serve, args=(link, channel), name="computer", daemon=True)
        with self._links_lock:
            room = self._make_room()
            if room:
                self._links[link] = thread
        if not room:
            self._say("too many computers at a time: one was turned away\n")
            stream.close()
            return
        thread.start()
        if self._one_at_a_time:
            thread.join()

    def _make_room(self) -> bool:
        """Turn away the oldest stranger if all places are taken; False if paired computers have them all."""
        if len(self._links) < MAX_CONNECTIONS:
            return True
        stranger = next((link for link in self._links if link.connection is None), None)
        if stranger is None:
            return False
        del self._links[stranger]
        stranger.server.close()
        return True

    def _serve(self, link: Link, channel: ChannelServer) -> None:
        try:
            link.server.serve()
        except (LinkError, OSError) as error:
            self._say(f"connection ended: {printable(str(error), 200)}\n")
        finally:
            link.server.close()
            channel.close()
            with self._links_lock:
                self._links.pop(link, None)

    # Peers

    def _lookup_peer(self, peer_id: bytes) -> bytes | None:
        peer = self._store.peer(peer_id)
        return None if peer is None else peer.public

    def _handler_for_peer(self, link: Link, context: PeerContext) -> Handler:
        peer = self._store.peer(context.peer_id)
        name = "unknown" if peer is None else printable(peer.name, 64)
        connection = self._manager.connect(name, context.peer_id)
        with self._links_lock:
            link.context, link.connection = context, connection
        self._say(f"{name} connected\n")
        return handler_for(self._manager, connection)

    def _handler_for_pairing(self, context: PeerContext) -> Handler:
        assert self._compare_code is not None
        desk = PairingDesk(self._store, self._compare_code, self._say, self._record, self._manager.phone_name)
        return PhonePairing(context.handshake_hash, context.static_public, desk)

    def _peer_closed(self, link: Link) -> None:
        with self._links_lock:
            connection, link.connection, link.context = link.connection, None, None
        if connection is not None:
            self._manager.disconnect(connection)
            self._say(f"{connection.computer} disconnected\n")

    # What the user says on the phone

    def lock_everything(self) -> int:
        """Refuse private-key operations, tell every connected computer to lock; returns their number."""
        try:
            self._manager.lock()
        finally:  # a full disk may keep it out of the log, but not the computers from locking
            told = self._tell_all_to_lock()
        return told

    def _tell_all_to_lock(self) -> int:
        contexts = [link.context for link in self._current_links() if link.context is not None]
        senders = [threading.Thread(target=_send_lock, args=(context,), daemon=True) for context in contexts]
        for sender in senders:
            sender.start()
        deadline = time.monotonic() + SEND_WAIT_S  # one that takes no bytes must not hold up the others
        for sender in senders:
            sender.join(max(0.0, deadline - time.monotonic()))
        return len(contexts)

    def drop_forgotten(self) -> None:
        """Close the connections of computers that are no longer paired."""
        phone = self._store.load()
        for link in self._current_links():
            context = link.context
            if context is not None and phone.peer(context.peer_id) is None:
                link.server.close()

    def answer_control(self, command: str) -> dict[str, Any]:
        """Answer a request at the control socket."""
        match command:
            case "lock":
                return {"ok": True, "computers": self.lock_everything()}
            case "unlock":
                self._manager.end_lock()
            case "reload":
                self.drop_forgotten()
            case "status":
                links = [link.connection for link in self._current_links() if link.connection is not None]
                return {
                    "ok": True,
                    "connected": [connection.computer for connection in links],
                    "locked": self._manager.locked,
                    "logged_in": self._manager.module.logged_in,
                }
            case _:
                return {"ok": False, "error": "unknown command"}
        return {"ok": True}

    def stop(self) -> None:
        """End all connections and logins, and close the listener. Idempotent."""
        self._stopping = True
        self._listener.close()
        with self._links_lock:
            running = dict(self._links)
        for link in running:
            link.server.close()
        deadline = time.monotonic() + JOIN_WAIT_S
        for thread in running.values():
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        self._manager.logout_all()

    def _current_links(self) -> list[Link]:
        with self._links_lock:
            return list(self._links)


def _send_lock(context: PeerContext) -> None:
    try:
        context.send_unsolicited(LOCK_EVENT)
    except LinkError:
        return  # it is gone, which locks it too


def recorder(store: Store, say: Callable[[str], None]) -> Callable[[LogEntry], None]:
    """Return a function that logs an entry durably and prints it."""
    log = UnlockLog(store.path)

    def record(entry: LogEntry) -> None:
        log.append(entry)
        if entry.event is not Event.LOGIN or entry.computer:  # the user knows what he has just typed
            say(entry.readable() + "\n")

    return record

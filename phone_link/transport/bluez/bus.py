"""The system's D-Bus for callers that block: the one module that knows dbus-fast and asyncio.

One connection, one event loop in a thread of its own. Everything else of the room calls `call`, is called
back by `serve` in threads of its own, and hears signals by `watch`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from dbus_fast import AuthError, BusType, InvalidAddressError, Message, MessageType, Variant, unpack_variants
from dbus_fast.aio import MessageBus

from phone_link.errors import BluetoothDenied, BluetoothUnavailable
from phone_link.transport.bluez import names
from phone_link.transport.bluez.answers import RemoteError

CALL_TIMEOUT_S = 5.0
_STOP_S = 1.0
_DAEMON = "org.freedesktop.DBus"
_DAEMON_PATH = "/org/freedesktop/DBus"
_NO_REPLY = "org.freedesktop.DBus.Error.NoReply"
_DISCONNECTED = "org.freedesktop.DBus.Error.Disconnected"
_T = TypeVar("_T")

Serve = Callable[[str, list[Any], list[int]], None]
"""Answers a call of BlueZ: member, arguments (an `h` is an index), descriptors, which it owns.
Raises `Refusal` to answer with an error."""


class Refusal(Exception):
    """What `Serve` raises to answer with a D-Bus error."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Typed:
    """A value of an `a{sv}` with its D-Bus type."""

    signature: str
    value: Any


class Bus:
    """A connection to the system bus and BlueZ on it.

    Args:
        timeout_s: Seconds until it must be there; BlueZ may have to be started by the bus for it.

    Raises:
        BluetoothUnavailable: There is no bus, or no BlueZ on it.
        BluetoothDenied: The bus does not let this user in.
        RemoteError: Another answer of the bus.
    """

    def __init__(self, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self._objects: dict[str, Serve] = {}
        self._watches: list[tuple[str, str, Callable[[list[Any]], None]]] = []
        self._on_lost: list[Callable[[], None]] = []
        self._owner = ""
        self._lost = False
        self._closed = threading.Lock()
        self._bus: MessageBus | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="bluez", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + timeout_s
        try:
            self._wait(self._connect(), timeout_s)
            self._find_bluez(max(0.1, deadline - time.monotonic()))
        except BaseException:
            self.close()
            raise

    # In any thread

    def call(
        self,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        *body: Any,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> list[Any]:
        """Call a method of BlueZ and return its results, variants unpacked.

        Values of an `a{sv}` are given as `Typed`.

        Raises:
            RemoteError: The error it answered; `org.freedesktop.DBus.Error.NoReply` after `timeout_s` seconds.
        """
        return self._call(names.SERVICE, path, interface, member, signature, body, timeout_s)

    def get(self, path: str, interface: str, name: str) -> Any:
        """Return a property; errors as `call`."""
        return self.call(path, names.PROPERTIES, "Get", "ss", interface, name)[0]

    def set(self, path: str, interface: str, name: str, value: Typed) -> None:
        """Set a property; errors as `call`."""
        self.call(path, names.PROPERTIES, "Set", "ssv", interface, name, value)

    def objects(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return all of BlueZ's objects: path, interface, property."""
        found: dict[str, dict[str, dict[str, Any]]] = self.call(
            "/", names.OBJECT_MANAGER, "GetManagedObjects"
        )[0]
        return found

    def serve(self, path: str, answer: Serve) -> None:
        """Let BlueZ call an object of ours. Each call runs in a thread of its own and may take long."""
        self._objects[path] = answer

    def watch(self, path: str, interface: str, on_change: Callable[[list[Any]], None]) -> None:
        """Hear PropertiesChanged of one interface of one object: `[changed]`.

        `on_change` runs in the loop's thread and must not block.
        """
        rule = f"type='signal',interface='{names.PROPERTIES}',member='PropertiesChanged',path='{path}'"
        self._call(_DAEMON, _DAEMON_PATH, _DAEMON, "AddMatch", "s", (rule,), CALL_TIMEOUT_S)
        self._watches.append((path, interface, on_change))

    def on_lost(self, handler: Callable[[], None]) -> None:
        """Call `handler` (in the loop's thread, once) when bus or bluetoothd go away; at once if they have."""
        self._loop.call_soon_threadsafe(self._add_lost, handler)

    def close(self) -> None:
        """Disconnect: BlueZ forgets our agent and profiles, and drops their connections. Idempotent."""
        if not self._closed.acquire(blocking=False):
            return
        self._loop.call_soon_threadsafe(self._stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(_STOP_S)

    def _call(
        self,
        service: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: Sequence[Any],
        timeout_s: float,
    ) -> list[Any]:
        message = Message(
            destination=service,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=[_packed(value) for value in body],
        )
        return self._wait(self._exchange(message), timeout_s)

    def _wait(self, work: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        if self._closed.locked():
            work.close()
            raise RemoteError(_DISCONNECTED, "")
        future: Future[_T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise RemoteError(_NO_REPLY, f"no answer within {timeout_s:g} s") from None
        except asyncio.CancelledError:
            raise RemoteError(_DISCONNECTED, "") from None

    def _find_bluez(self, timeout_s: float) -> None:
        # A call to a name that has no owner makes the bus start its service; asking for the owner does not.
        self._call(names.SERVICE, "/", names.OBJECT_MANAGER, "GetManagedObjects", "", (), timeout_s)
        rule = f"type='signal',sender='{_DAEMON}',member='NameOwnerChanged',arg0='{names.SERVICE}'"
        self._call(_DAEMON, _DAEMON_PATH, _DAEMON, "AddMatch", "s", (rule,), timeout_s)
        (self._owner,) = self._call(
            _DAEMON, _DAEMON_PATH, _DAEMON, "GetNameOwner", "s", (names.SERVICE,), timeout_s
        )

    # In the loop's thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        finally:
            self._loop.close()

    def _stop(self) -> None:
        if self._bus is not None:
            self._bus.disconnect()
        self._loop.call_soon(self._loop.stop)  # after the bus has closed its socket

    async def _connect(self) -> None:
        try:
            # Without negotiate_unix_fd a NewConnection never arrives.
            self._bus = await MessageBus(bus_type=BusType.SYSTEM, negotiate_unix_fd=True).connect()
        except AuthError as error:
            raise BluetoothDenied(f"the system's D-Bus does not let this user in ({error})") from None
        except PermissionError:
            raise BluetoothDenied("the system's D-Bus does not let this user in") from None
        except (OSError, EOFError, InvalidAddressError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BluetoothUnavailable(f"the system's D-Bus cannot be reached ({reason})") from None
        self._bus.add_message_handler(self._on_message)
        self._watcher = asyncio.ensure_future(self._await_end())

    async def _await_end(self) -> None:
        assert self._bus is not None
        with contextlib.suppress(OSError, EOFError):
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
        self._lose()

    async def _exchange(self, message: Message) -> list[Any]:
        if self._bus is None or self._lost:
            raise RemoteError(_DISCONNECTED, "")
        call = asyncio.ensure_future(self._bus.call(message))
        try:
            await asyncio.wait((call, self._watcher), return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                raise RemoteError(_DISCONNECTED, "")
            reply = call.result()
        except (OSError, EOFError):
            raise RemoteError(_DISCONNECTED, "") from None
        finally:
            call.cancel()
        assert reply is not None
        if reply.message_type is MessageType.ERROR:
            text = reply.body[0] if reply.body and isinstance(reply.body[0], str) else ""
            raise RemoteError(reply.error_name or "", text)
        return list(unpack_variants(reply.body))

    def _add_lost(self, handler: Callable[[], None]) -> None:
        if self._lost:
            handler()
        else:
            self._on_lost.append(handler)

    def _lose(self) -> None:
        self._lost = True
        handlers, self._on_lost = self._on_lost, []
        for handler in handlers:
            handler()

    def _on_message(self, message: Message) -> bool:
        if message.message_type is MessageType.SIGNAL:
            self._on_signal(message)
            return False
        if message.message_type is not MessageType.METHOD_CALL or message.path not in self._objects:
            return False
        descriptors = list(message.unix_fds)
        if message.sender != self._owner:  # only BlueZ has business here
            for descriptor in descriptors:
                os.close(descriptor)
            self._send(Message.new_error(message, "org.freedesktop.DBus.Error.AccessDenied", ""))
            return True
        answer = self._objects[message.path]
        threading.Thread(
            target=self._answer, args=(message, descriptors, answer), name="bluez call", daemon=True
        ).start()
        return True

    def _on_signal(self, message: Message) -> None:
        if message.sender == _DAEMON and message.member == "NameOwnerChanged":
            if message.body[0] == names.SERVICE and message.body[1] == self._owner:
                self._lose()
            return
        if message.sender != self._owner or message.member != "PropertiesChanged":
            return
        for path, interface, on_change in self._watches:
            if message.path == path and message.body[0] == interface:
                on_change([unpack_variants(message.body[1])])

    def _send(self, message: Message) -> None:
        if self._bus is not None and not self._lost:
            self._bus.send(message)

    # In a thread of one call

    def _answer(self, message: Message, descriptors: list[int], answer: Serve) -> None:
        reply = Message.new_error(message, "org.bluez.Error.Rejected", "")
        try:
            answer(message.member or "", list(unpack_variants(message.body)), descriptors)
            reply = Message.new_method_return(message)
        except Refusal as refusal:
            reply = Message.new_error(message, refusal.name, "")
        finally:
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                self._loop.call_soon_threadsafe(self._send, reply)


def _packed(value: Any) -> Any:
    if isinstance(value, Typed):
        return Variant(value.signature, value.value)
    if isinstance(value, dict):
        return {key: _packed(item) for key, item in value.items()}
    return value

"""Locked memory for many small keys: a page of its own for every file key would exhaust RLIMIT_MEMLOCK."""

from __future__ import annotations

import os
import threading

from keyslots.secret import Secret
from phonevault.fs.errors import KeysMissing

_SLOT_BYTES = 64
_ARENA_BYTES = 4096


class KeyArena:
    """Hands out 64-byte slots of locked pages; a slot given back is wiped first."""

    def __init__(self) -> None:
        self._pages: list[Secret] = []
        self._free: list[memoryview] = []
        self._lock = threading.Lock()
        self._closed = False
        self._source = open("/dev/urandom", "rb", buffering=0)  # noqa: SIM115  closed with the arena

    def take(self) -> memoryview:
        """A zeroed slot of 64 bytes.

        Raises:
            KeysMissing: the arena is closed.
        """
        with self._lock:
            if self._closed:
                raise KeysMissing
            if not self._free:
                page = Secret(_ARENA_BYTES)
                self._pages.append(page)
                view = page.view
                self._free.extend(
                    view[start : start + _SLOT_BYTES] for start in range(0, _ARENA_BYTES, _SLOT_BYTES)
                )
            return self._free.pop()

    def take_random(self) -> memoryview:
        """A slot filled by the kernel's generator, without a copy elsewhere (urandom(4): no short reads below 256 bytes)."""
        slot = self.take()
        if os.readv(self._source.fileno(), [slot]) != _SLOT_BYTES:
            raise OSError("short read from /dev/urandom")
        return slot

    def give_back(self, slot: memoryview) -> None:
        """Wipe a slot and keep its place for another key."""
        slot[:] = bytes(_SLOT_BYTES)
        with self._lock:
            self._free.append(slot)

    def close(self) -> None:
        """Hand out nothing any more: a request that outlives a lock must not keep a key, nor use a slot wiped under it."""
        with self._lock:
            self._closed = True

    def wipe(self) -> None:
        """Close, and wipe every slot ever handed out."""
        self.close()
        with self._lock:
            pages, self._pages, self._free = self._pages, [], []
        for page in pages:
            page.view[:] = bytes(len(page))

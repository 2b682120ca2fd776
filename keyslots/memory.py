"""Wiping what others leave behind: buffers, `bytes` and `str` results, dead stack, freed heap.

OpenSSL cleanses contexts it frees, but copies stay elsewhere: AES-GCM leaves a key and half a plaintext in
dead stack frames and vector registers, Argon2id the passphrase in a freed heap block. Everything here is best
effort on CPython and glibc, and tested by scanning a process (tests/keyslots/test_memory_scan.py).
"""

from __future__ import annotations

import ctypes
import platform
import sys

_libc = ctypes.CDLL(None)
_STACK_BYTES = 128 * 1024
_STACK_MARGIN = 256
_CONTEXT_BYTES = 8192
# Offset of the stack pointer in ucontext_t, glibc <sys/ucontext.h>.
_SP_OFFSET = {"x86_64": 160, "aarch64": 432}
_HEAP_BLOCKS = 8  # more than glibc's per-thread cache (7) holds of one size
_HEAP_OVERHEAD = 512
_BYTES_HEADER = bytes.__basicsize__ - 1


def wipe(buffer: bytearray | memoryview) -> None:
    """Overwrite a writable buffer with zeros, in place."""
    view = memoryview(buffer).cast("B")
    view[:] = bytes(len(view))


def wipe_bytes(value: bytes) -> None:
    """Overwrite a `bytes` object that only the caller holds.

    Only for a fresh result of a library call: never for a constant, a dictionary key or an interned value.
    Objects shorter than two bytes are shared by the interpreter and left alone.
    """
    if len(value) >= 2 and sys.implementation.name == "cpython":
        ctypes.memset(id(value) + _BYTES_HEADER, 0, len(value))


def wipe_str(value: str) -> None:
    """Overwrite the characters of a `str` that only the caller holds; same care as `wipe_bytes`."""
    if len(value) < 2 or sys.implementation.name != "cpython":
        return
    highest = max(map(ord, value))
    width = 1 if highest < 0x100 else 2 if highest < 0x10000 else 4
    # PEP 393: the characters follow a header that depends only on whether the string is ASCII.
    probe = "aa" if highest < 0x80 else "\xe9\xe9"
    header = sys.getsizeof(probe) - len(probe) - 1
    ctypes.memset(id(value) + header, 0, len(value) * width)


def _stack_pointer() -> int | None:
    offset = _SP_OFFSET.get(platform.machine())
    if offset is None or not hasattr(_libc, "getcontext"):
        return None
    context = ctypes.create_string_buffer(_CONTEXT_BYTES)
    if _libc.getcontext(context) != 0:
        return None
    return int.from_bytes(context.raw[offset : offset + 8], "little")


def _mapping_start(address: int) -> int | None:
    """Return where the mapping around `address` starts, from /proc/self/maps (proc(5))."""
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        for line in maps:
            start, _, end = line.split(" ", 1)[0].partition("-")
            if int(start, 16) <= address < int(end, 16):
                return int(start, 16)
    return None


def _overwrite_registers() -> None:
    """Run AES-GCM over zeros: the vector registers and the stack frames it used last now hold those."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sealed, opened = bytearray(80), bytearray(64)
    cipher = AESGCM(bytes(32))
    cipher.encrypt_into(bytes(12), bytes(64), None, sealed)
    cipher.decrypt_into(bytes(12), sealed, None, opened)


def scrub_stack() -> bool:
    """Overwrite the calling thread's dead stack (and what vector registers would spill there).

    Call it after the last use of a key, from a frame not deeper than the one that used it. About 0.1 ms.

    Returns:
        False where the stack pointer cannot be found (not glibc on x86-64 or AArch64): only the registers and
        the frames of one AES-GCM call were overwritten then.
    """
    _overwrite_registers()
    pointer = _stack_pointer()
    start = _mapping_start(pointer) if pointer else None
    if pointer is None or start is None:
        return False
    lowest = max(start, pointer - _STACK_BYTES)
    # memset is a leaf called with the stack pointer a little above `pointer`: what is overwritten is dead.
    ctypes.memset(lowest, 0, pointer - _STACK_MARGIN - lowest)
    return True


def scrub_heap(size: int) -> None:
    """Overwrite the blocks that this thread freed last, of all sizes that may hold `size` bytes.

    malloc hands out first what was freed last of a size; so that is taken, overwritten and given back.
    About 0.3 ms.
    """
    _libc.malloc.restype = ctypes.c_void_p
    _libc.malloc.argtypes = (ctypes.c_size_t,)
    _libc.free.argtypes = (ctypes.c_void_p,)
    blocks = []
    for length in range(24, size + _HEAP_OVERHEAD, 16):
        for _ in range(_HEAP_BLOCKS):
            address = _libc.malloc(length)
            if address:
                ctypes.memset(address, 0, length)
                blocks.append(address)
    for address in blocks:
        _libc.free(address)

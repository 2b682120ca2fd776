"""Raw rates of the ciphers as the file system calls them, and the cost of a passphrase.

Keys are made for the measurement and thrown away, plaintext is zeros and nothing that is sealed is kept: so one
nonce or tweak may be used again and again here, which it never may in a vault.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

GCM, XTS = "aes-256-gcm", "aes-256-xts"
GCM_BLOCKS_BYTES = (4096, 16384, 65536)
XTS_UNIT_BYTES = 65536
THREADS = (1, 2)
_SLICE_S = 0.12
_BATCH = 16
_NAME = b"a file name of usual length.txt"


@dataclass(frozen=True)
class CipherRate:
    """Encryption in calls of `block_bytes` by `threads` threads at a time: MB/s together."""

    cipher: str
    block_bytes: int
    threads: int
    mb_per_s: float


@dataclass(frozen=True)
class CipherSpeed:
    """What was measured.

    Attributes:
        rates: Of contents.
        names_per_s: File names encrypted a second (AES-256-SIV).
        passphrase_s: One derivation at the least cost of a new passphrase (Argon2id, 64 MiB); None if there was not enough memory.
    """

    rates: tuple[CipherRate, ...]
    names_per_s: float
    passphrase_s: float | None

    def rate(self, cipher: str, block_bytes: int, threads: int = 1) -> float:
        """MB/s of one line."""
        wanted = (cipher, block_bytes, threads)
        return next(
            one.mb_per_s for one in self.rates if (one.cipher, one.block_bytes, one.threads) == wanted
        )


def measure(slice_s: float = _SLICE_S) -> CipherSpeed:
    """Measure everything, each for `slice_s` seconds: about 2 s by default."""
    work = [(GCM, size, _gcm(size)) for size in GCM_BLOCKS_BYTES] + [
        (XTS, XTS_UNIT_BYTES, _xts(XTS_UNIT_BYTES))
    ]
    rates = [
        CipherRate(cipher, size, threads, calls_per_s(make, threads, slice_s) * size / 1e6)
        for cipher, size, make in work
        for threads in THREADS
    ]
    return CipherSpeed(tuple(rates), calls_per_s(_names, 1, slice_s), _passphrase_s())


def calls_per_s(make: Callable[[], Callable[[], object]], threads: int, slice_s: float) -> float:
    """Return how often threads together can call what `make` makes for each of them."""
    counts = [0] * threads
    start = threading.Barrier(threads + 1)
    elapsed_s = [0.0] * threads

    def work(number: int) -> None:
        call = make()
        call()
        start.wait()
        began_s = time.perf_counter()
        while (now_s := time.perf_counter() - began_s) < slice_s:
            for _ in range(_BATCH):
                call()
            counts[number] += _BATCH
        elapsed_s[number] = now_s

    workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    for worker in workers:
        worker.join()
    return sum(count / seconds for count, seconds in zip(counts, elapsed_s, strict=True))


def _gcm(size: int) -> Callable[[], Callable[[], object]]:
    """One block, as `phonevault.fs.contents.gcm_file` seals it: 24 bytes of associated data."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    def make() -> Callable[[], object]:
        cipher, nonce, clear, sealed = AESGCM(os.urandom(32)), bytes(12), bytes(size), bytearray(size + 16)
        associated = bytes(24)
        return lambda: cipher.encrypt_into(nonce, clear, associated, sealed)

    return make


def _xts(size: int) -> Callable[[], Callable[[], object]]:
    """One data unit, as `phonevault.fs.contents.xts_file` encrypts it: a new context for each."""
    from cryptography.hazmat.primitives.ciphers import Cipher, modes
    from cryptography.hazmat.primitives.ciphers.algorithms import AES

    def make() -> Callable[[], object]:
        key, clear, sealed = os.urandom(64), bytes(size), bytearray(size + 15)
        return lambda: Cipher(AES(key), modes.XTS(bytes(16))).encryptor().update_into(clear, sealed)

    return make


def _names() -> Callable[[], object]:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    siv, associated = AESSIV(os.urandom(64)), [b"name", bytes(16)]
    return lambda: siv.encrypt(_NAME, associated)


def _passphrase_s() -> float | None:
    """Seconds to make the key of a passphrase slot at the least cost that a new one gets."""
    from keyslots.errors import KdfMemory
    from phonevault import kdf_cost

    try:
        return kdf_cost.seconds(kdf_cost.LEAST)
    except KdfMemory:
        return None

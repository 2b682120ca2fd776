"""Looks for secrets in the memory of another process: all its writable mappings, through /proc/PID/mem."""

from __future__ import annotations

from collections.abc import Iterator

_WINDOW = 16
_PAGE = 4096
_ZEROS = bytes(_PAGE)


def windows(secret: bytes) -> set[bytes]:
    """What gives a secret away: each 16-byte stretch of it (every 8 bytes), or a shorter secret whole."""
    if len(secret) <= _WINDOW:
        return {secret}
    starts = [*range(0, len(secret) - _WINDOW, 8), len(secret) - _WINDOW]
    return {secret[start : start + _WINDOW] for start in starts}


def hmac_pads(secret: bytes) -> set[bytes]:
    """The key as HMAC holds it inside (RFC 2104)."""
    return {bytes(b ^ pad for b in stretch) for pad in (0x36, 0x5C) for stretch in windows(secret)}


def scan(pid: int, secrets: dict[str, bytes]) -> dict[str, list[str]]:
    """Where each named secret is found, as `mapping+offset`; secrets that are nowhere are left out."""
    needles = {name: windows(secret) | hmac_pads(secret) for name, secret in secrets.items()}
    found: dict[str, list[str]] = {}
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            fields = line.split()
            if not fields[1].startswith("rw"):
                continue
            start, end = (int(part, 16) for part in fields[0].split("-"))
            mapping = fields[5] if len(fields) > 5 else "anonymous"
            memory.seek(start)
            for at, data in _used(memory.read(end - start)):
                for name, stretches in needles.items():
                    for stretch in stretches:
                        offset = data.find(stretch)
                        if offset >= 0:
                            found.setdefault(name, []).append(f"{mapping}+{at + offset:#x}")
    return found


def _used(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The stretches of a mapping between pages of zeros, with their offsets; most of a stack was never touched."""
    begin: int | None = None
    for offset in range(0, len(data) + _PAGE, _PAGE):
        page = data[offset : offset + _PAGE]
        if page and page != _ZEROS:
            begin = offset if begin is None else begin
        elif begin is not None:
            yield begin, data[begin : offset + _WINDOW]  # a stretch may end in zeros
            begin = None

"""What the numbers mean, in sentences. No I/O."""

from __future__ import annotations

from phonevault.speed.ciphers import GCM, XTS, XTS_UNIT_BYTES, CipherSpeed
from phonevault.speed.folder import FolderSpeed

HARDWARE_MB_PER_S = 500
"""AES-GCM on one thread: software stays below 300 on every processor tried, instructions give 1,000 and more."""
SLOW_PASSPHRASE_S = 2.0
_LARGE = 65536


def advise(ciphers: CipherSpeed, folder: FolderSpeed | None) -> list[str]:
    """Return one sentence a subject."""
    found = [_hardware(ciphers), _cipher(ciphers)]
    if ciphers.passphrase_s is None:
        found.append("There is not enough free memory for a new passphrase slot (64 MiB).")
    elif ciphers.passphrase_s > SLOW_PASSPHRASE_S:
        found.append(
            f"A passphrase takes {ciphers.passphrase_s:.1f} s to open a vault here: a phone slot is quicker."
        )
    if folder is not None:
        found.append(_folder(folder))
    return found


def has_hardware(ciphers: CipherSpeed) -> bool:
    """Whether AES-GCM is so fast that the processor must compute it itself."""
    return ciphers.rate(GCM, _LARGE) >= HARDWARE_MB_PER_S


def _hardware(ciphers: CipherSpeed) -> str:
    rate = f"{ciphers.rate(GCM, _LARGE):,.0f} MB/s"
    if has_hardware(ciphers):
        return f"AES runs in hardware ({rate} on one thread)."
    return (
        f"AES seems to run without the processor's instructions ({rate} on one thread): `phonevault doctor` tells"
        " whether it has any; in a virtual machine they may have to be passed through."
    )


def _cipher(ciphers: CipherSpeed) -> str:
    ratio = ciphers.rate(XTS, XTS_UNIT_BYTES) / ciphers.rate(GCM, 4096)
    compared = f"aes-256-xts encrypts {ratio:.1f} times as fast as aes-256-gcm in 4 KiB blocks"
    if ratio < 1.5:
        return f"Take aes-256-gcm: {compared}, and protects nothing against changes."
    return (
        f"Take aes-256-gcm unless nobody else can write where the vault lies and large files matter most: {compared},"
        " but it has no integrity."
    )


def _folder(folder: FolderSpeed) -> str:
    write, read = folder.rate("sequential write + fsync"), folder.rate("sequential read, cold")
    compared = f"large files are written at {write.ratio:.2f} and read at {read.ratio:.2f} of the plain directory's rate"
    if min(write.ratio, read.ratio) > 0.7:
        return f"The storage is the limit, not the encryption: {compared}."
    if max(write.folder, read.folder) < 50:
        return f"Something is slow besides the storage: {compared}. Does another program use the processor?"
    return f"The storage is faster than the folder: {compared}."

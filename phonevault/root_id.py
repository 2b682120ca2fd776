"""The directory id of a vault's root (docs/format.md 2): written with a new vault, and what proves its keys on the tree."""

from __future__ import annotations

import os
from pathlib import Path

from keyslots.derive import derive
from keyslots.labels import NAMES
from keyslots.secret import Secret
from phonevault.durable import fsync_directory


def file_name() -> str:
    """The id file's name in `tree`."""
    from phonevault.fs.format.dirid import FILE_NAME

    return FILE_NAME


def write_root_id(tree: Path, vmk: Secret, vault_id: bytes) -> None:
    """Write a fresh `tree/phonevault.dirid`, durably.

    Raises:
        OSError: disk full, permission, I/O error, or there is one.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    from phonevault.fs.format.dirid import FILE_NAME, new_directory_id, seal_directory_id

    with derive(vmk, vault_id, NAMES) as key:
        blob = seal_directory_id(AESSIV(key.view), new_directory_id())
    descriptor = os.open(tree / FILE_NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if os.write(descriptor, blob) != len(blob):
            raise OSError("short write")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fsync_directory(tree)


def prove_root_id(tree: Path, vmk: Secret, vault_id: bytes) -> None:
    """Open the root's directory id: only the volume key that names are encrypted with can.

    Args:
        tree: the ciphertext of the root directory.
        vmk: volume master key of the epoch of names.
        vault_id: the vault's id, 16 bytes.

    Raises:
        DirectoryIdDamaged: it does not open, or is no small regular file: damage, or the tree of another vault.
        OSError: it cannot be read.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    from phonevault.fs.format.dirid import FILE_NAME, open_directory_id
    from phonevault.fs.small_files import read_small

    directory = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        blob = read_small(FILE_NAME, directory)
    finally:
        os.close(directory)
    with derive(vmk, vault_id, NAMES) as key:
        open_directory_id(AESSIV(key.view), blob)

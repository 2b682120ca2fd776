"""The phone's store on disk.

    STORE/phone.json   name, static key, wrapped master key, tries left, paired computers
    STORE/keys/*.json  software keys, sealed under the master key
    STORE/log.jsonl    what was done with them (`log.py`)
    STORE/anchors.json which header of which vault was seen last (`anchors.py`); none if none was
    STORE/lock         taken (flock) around every change of phone.json and anchors.json
    STORE/agent.lock, STORE/agent.sock   held by the running agent (`control.py`)

Directories have mode 0700, files 0600; a store others can read is refused. Every read takes the newest bytes:
the agent and the commands of `phonevault-phone` may change the store at the same time.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from phone_link.phone.anchors import Anchors
from phone_link.phone.atomic import replace_file
from phone_link.phone.errors import (
    StoreDamaged,
    StoreError,
    StoreMissing,
    StoreUnsafe,
    UnknownComputer,
)
from phone_link.phone.keyfile import KeyFile
from phone_link.phone.store_format import MAX_PEERS, Peer, PhoneFile
from phone_link.phone.strict_json import MAX_FILE_BYTES

PHONE_FILE = "phone.json"
ANCHORS_FILE = "anchors.json"
KEYS = "keys"
LOCK = "lock"
MAX_KEYS = 64


class Transaction:
    """phone.json under the store's lock: `phone` is what is on disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.phone = store.load()

    def write(self, phone: PhoneFile) -> None:
        """Replace phone.json durably; may be called several times."""
        replace_file(self._store.path / PHONE_FILE, phone.encode())
        self.phone = phone


class AnchorTransaction:
    """anchors.json under the store's lock: `anchors` is what is on disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.anchors = store.load_anchors()

    def write(self, anchors: Anchors) -> None:
        """Replace anchors.json durably."""
        replace_file(self._store.path / ANCHORS_FILE, anchors.encode())
        self.anchors = anchors


class Store:
    """The files of one phone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> PhoneFile:
        """Read phone.json.

        Raises:
            StoreMissing, StoreUnsafe, StoreDamaged, StoreTooNew
        """
        _check_private(self.path, directory=True)
        return PhoneFile.parse(_read(self.path / PHONE_FILE))

    def load_anchors(self) -> Anchors:
        """Read anchors.json; errors as `load`, but for one that is not there."""
        path = self.path / ANCHORS_FILE
        if not os.path.lexists(path):
            return Anchors()
        try:
            return Anchors.parse(_read(path))
        except StoreDamaged as error:
            raise StoreDamaged(
                str(error), hint=f"remove {path}: each vault is then one that this phone has never seen"
            ) from None

    @contextmanager
    def anchor_transaction(self) -> Iterator[AnchorTransaction]:
        """Hold the store's lock (blocking) and give access to anchors.json."""
        with self._locked():
            yield AnchorTransaction(self)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Hold the store's lock (blocking) and give access to phone.json."""
        with self._locked():
            yield Transaction(self)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        _check_private(self.path, directory=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path / LOCK, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def peer(self, identity: bytes) -> Peer | None:
        """Return the paired computer with this 8-byte id, or None."""
        return self.load().peer(identity)

    def add_peer(self, peer: Peer) -> None:
        """Remember a computer; a known one gets its new name. `StoreError` if there are too many."""
        with self.transaction() as transaction:
            others = tuple(known for known in transaction.phone.peers if known.public != peer.public)
            if len(others) >= MAX_PEERS:
                raise StoreError("too many paired computers", hint="forget one: phonevault-phone forget")
            transaction.write(replace(transaction.phone, peers=(*others, peer)))

    def forget_peer(self, wanted: str) -> Peer:
        """Remove and return the computer with this name or hex id; `UnknownComputer` if not just one fits."""
        with self.transaction() as transaction:
            peers = transaction.phone.peers
            found = [peer for peer in peers if wanted in (peer.name, peer.id.hex())]
            if not found:
                raise UnknownComputer("no paired computer has that name")
            if len(found) > 1:
                raise UnknownComputer(
                    "several computers have that name", hint="give its id (status shows it)"
                )
            transaction.write(replace(transaction.phone, peers=tuple(p for p in peers if p != found[0])))
        return found[0]

    def read_keys(self) -> tuple[KeyFile, ...]:
        """Read all software keys, oldest first; errors as `load`."""
        directory = self.path / KEYS
        _check_private(directory, directory=True)
        names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
        if len(names) > MAX_KEYS:
            raise StoreDamaged("too many keys in the store")
        found = [KeyFile.parse(_read(directory / name), name) for name in names]
        return tuple(sorted(found, key=lambda key: (key.created, key.id)))

    def write_key(self, key: KeyFile) -> None:
        """Write one key's file durably."""
        replace_file(self.path / KEYS / key.file_name, key.encode())


def _read(path: Path) -> bytes:
    _check_private(path, directory=False)
    with open(path, "rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def _check_private(path: Path, *, directory: bool) -> None:
    """Refuse a path that is missing, of the wrong kind, or open to other users."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise StoreMissing(f"no phone store: {path} is not there") from None
    if os.path.isdir(path) != directory:
        raise StoreMissing(f"no phone store: {path} is not a {'directory' if directory else 'file'}")
    if status.st_mode & 0o077:
        raise StoreUnsafe(f"{path} can be read or written by other users")

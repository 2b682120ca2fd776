"""Bluetooth link keys and remembered RFCOMM channels, one small file for each adapter."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from phone_link.errors import LinkError

FORMAT_VERSION = 1
MAX_FILE_BYTES = 1 << 20
LINK_KEY_BYTES = 16
MAX_RFCOMM_CHANNEL = 30


@dataclass(frozen=True)
class PeerRecord:
    """What is kept of a bonded peer.

    Attributes:
        link_key: 16 bytes as HCI carries them.
        key_type: Core Specification Vol 4 Part E 7.7.24.
        channel: RFCOMM server channel of its phonevault service, None if not (or no longer) known.
    """

    link_key: bytes
    key_type: int
    channel: int | None = None

    def __repr__(self) -> str:
        return f"PeerRecord(key_type={self.key_type}, channel={self.channel})"


class LinkKeyStore:
    """The bonds of one adapter, kept in `STATE_DIR/bluetooth-<its address>.json` (mode 0600).

    A listener and a connector drive different adapters and so never share a file.

    Args:
        state_dir: Where the file is; None keeps bonds in memory only.
        own_address: The adapter's address, `F0:F1:F2:F3:F4:F5`.

    Raises:
        LinkError: The file is damaged or cannot be read.
    """

    def __init__(self, state_dir: Path | None, own_address: str) -> None:
        name = f"bluetooth-{own_address.replace(':', '')}.json"
        self._path = None if state_dir is None else state_dir / name
        self._peers = {} if self._path is None else _load(self._path)

    def get(self, peer: str) -> PeerRecord | None:
        """The record of a peer by its address, None if there is no bond."""
        return self._peers.get(peer)

    def put(self, peer: str, record: PeerRecord) -> None:
        """Add or replace a bond."""
        if self._peers.get(peer) != record:
            self._peers[peer] = record
            self._save()

    def remember_channel(self, peer: str, channel: int | None) -> None:
        """Note where the peer's service was found, or that it is not there any more."""
        if (record := self._peers.get(peer)) is not None:
            self.put(peer, replace(record, channel=channel))

    def forget(self, peer: str) -> None:
        """End a bond."""
        if self._peers.pop(peer, None) is not None:
            self._save()

    def _save(self) -> None:
        if self._path is None:
            return
        peers = {
            address: {"key": record.link_key.hex(), "type": record.key_type, "channel": record.channel}
            for address, record in sorted(self._peers.items())
        }
        text = json.dumps({"version": FORMAT_VERSION, "peers": peers}, indent=1)
        try:
            _replace_file(self._path, text.encode())
        except OSError as error:
            raise LinkError(f"cannot write {self._path}: {error.strerror}") from None


def _replace_file(path: Path, content: bytes) -> None:
    """Replace a file atomically and durably."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _load(path: Path) -> dict[str, PeerRecord]:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LinkError(f"cannot read {path}: {error.strerror}") from None
    try:
        if len(content) > MAX_FILE_BYTES:
            raise ValueError("too large")
        return _parse(json.loads(content))
    except (ValueError, RecursionError):
        raise LinkError(
            f"{path} is damaged", hint="remove it, then pair again: phonevault phone pair SPEC"
        ) from None


def _parse(document: object) -> dict[str, PeerRecord]:
    match document:
        case {"version": 1, "peers": dict(peers), **rest} if not rest:
            return {str(address): _parse_record(record) for address, record in peers.items()}
    raise ValueError("not a link key file")


def _parse_record(record: object) -> PeerRecord:
    match record:
        case {"key": str(key), "type": int(key_type), "channel": int() | None as channel, **rest} if not rest:
            link_key = bytes.fromhex(key)
            if len(link_key) == LINK_KEY_BYTES and (channel is None or 1 <= channel <= MAX_RFCOMM_CHANNEL):
                return PeerRecord(link_key, key_type, channel)
    raise ValueError("not a link key record")

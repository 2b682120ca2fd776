"""The paired phones of this user: one small JSON file."""

from __future__ import annotations

import builtins
import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from phone_link.errors import LinkError, ProtocolError, UnknownPhone
from phone_link.host.files import read_private, replace_private
from phone_link.pairing.names import checked_name

FILE_NAME = "phones.json"
_VERSION = 1
_MEMBERS = ("name", "spec", "static_public", "public_key_der", "fingerprint", "paired")


@dataclass(frozen=True)
class PairedPhone:
    """A phone this computer trusts.

    Attributes:
        name: 1 … 64 characters, unique in the book.
        spec: transport spec it was paired over.
        static_public: its channel key, 32 bytes.
        public_key_der: SubjectPublicKeyInfo of its RSA decryption key.
        fingerprint: SHA-256 of that, hex.
        paired: ISO date.
    """

    name: str
    spec: str
    static_public: bytes
    public_key_der: bytes
    fingerprint: str
    paired: str


class PhoneBook:
    """The book in a directory. Every call reads it anew; changes are made under a lock."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / FILE_NAME

    def list(self) -> list[PairedPhone]:
        """Return all phones, by name; `LinkError` if the book is damaged."""
        data = read_private(self._path)
        if data is None:
            return []
        try:
            content = json.loads(data)
            if set(content) != {"version", "phones"} or content["version"] != _VERSION:
                raise ValueError("version")
            phones = [_decode(entry) for entry in content["phones"]]
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError, ProtocolError):
            raise LinkError(f"{self._path} is damaged", hint="remove it and pair the phones again") from None
        return sorted(phones, key=lambda phone: phone.name)

    def get(self, name: str | None) -> PairedPhone:
        """Return the phone of a name, or the only one for None; `UnknownPhone` if that is not one phone."""
        phones = self.list()
        if name is None:
            if len(phones) == 1:
                return phones[0]
            if not phones:
                raise UnknownPhone("no phone is paired", hint="phonevault phone pair SPEC")
            raise UnknownPhone("several phones are paired: name one")
        for phone in phones:
            if phone.name == name:
                return phone
        raise UnknownPhone(f"no paired phone is called {name!r}")

    def by_fingerprint(self, fingerprint: str) -> PairedPhone:
        """Return the phone with this RSA key (hex SHA-256 of its DER); `UnknownPhone` if none has it."""
        for phone in self.list():
            if phone.fingerprint == fingerprint.lower():
                return phone
        raise UnknownPhone("no paired phone has the key of this slot")

    def add(self, phone: PairedPhone) -> None:
        """Add a phone, replacing the entry of the same phone (same channel key).

        Raises:
            LinkError: another phone has this name.
        """
        checked_name(phone.name)
        with self._locked():
            others = [known for known in self.list() if known.static_public != phone.static_public]
            if any(known.name == phone.name for known in others):
                raise LinkError(
                    f"another paired phone is called {phone.name!r}", hint="give a --name, or forget it first"
                )
            self._save([*others, phone])

    def forget(self, name: str) -> None:
        """Remove a phone; `UnknownPhone` if there is none of this name."""
        with self._locked():
            phones = self.list()
            kept = [phone for phone in phones if phone.name != name]
            if len(kept) == len(phones):
                raise UnknownPhone(f"no paired phone is called {name!r}")
            self._save(kept)

    def _save(self, phones: builtins.list[PairedPhone]) -> None:
        content = {"version": _VERSION, "phones": [_encode(phone) for phone in phones]}
        replace_private(self._path, json.dumps(content, indent=1, sort_keys=True).encode("ascii") + b"\n")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise LinkError(f"cannot use {self._directory} ({error.strerror})") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _encode(phone: PairedPhone) -> dict[str, str]:
    values = {member: getattr(phone, member) for member in _MEMBERS}
    return {member: value.hex() if isinstance(value, bytes) else value for member, value in values.items()}


def _decode(entry: dict[str, str]) -> PairedPhone:
    if set(entry) != set(_MEMBERS) or not all(isinstance(value, str) for value in entry.values()):
        raise ValueError("members")
    static_public = bytes.fromhex(entry["static_public"])
    der = bytes.fromhex(entry["public_key_der"])
    if len(static_public) != 32 or hashlib.sha256(der).hexdigest() != entry["fingerprint"]:
        raise ValueError("keys")
    name = checked_name(entry["name"])
    return PairedPhone(name, entry["spec"], static_public, der, entry["fingerprint"], entry["paired"])

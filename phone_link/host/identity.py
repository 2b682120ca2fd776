"""The computer's static key: what a phone knows it by."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from phone_link.errors import LinkError
from phone_link.host.files import read_private, replace_private

_FILE = re.compile(rb"phonevault-identity v1 ([0-9a-f]{64})\n\Z")


@dataclass(frozen=True)
class HostIdentity:
    """An X25519 key pair (RFC 7748).

    Attributes:
        private: 32 bytes, never shown.
        public: 32 bytes.
    """

    private: bytes = field(repr=False)
    public: bytes

    @classmethod
    def load_or_create(cls, path: Path) -> HostIdentity:
        """Return the identity kept in a file (mode 0600), made now if there is none.

        Raises:
            LinkError: the file is damaged, open to others, or cannot be written.
        """
        data = read_private(path)
        if data is None:
            from phone_link.channel.noise import generate_private

            fresh = f"phonevault-identity v1 {generate_private().hex()}\n".encode("ascii")
            # Two programs may start at once: the first file counts for both.
            replace_private(path, fresh, new_only=True)
            data = read_private(path) or b""
        return cls._parse(path, data)

    @classmethod
    def _parse(cls, path: Path, data: bytes) -> HostIdentity:
        match = _FILE.match(data)
        if match is None:
            raise LinkError(
                f"{path} is damaged", hint="remove it and pair again: the phones know this computer by it"
            )
        from phone_link.channel.noise import public_of

        private = bytes.fromhex(match[1].decode("ascii"))
        return cls(private, public_of(private))

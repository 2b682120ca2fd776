"""STORE/phone.json as frozen values: strict parsing and canonical encoding, no I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from phone_link.phone import strict_json
from phone_link.phone.errors import StoreDamaged, StoreTooNew
from phone_link.phone.strict_json import Fields

FORMAT = "phonevault-phone"
VERSION = 1
PIN_TRIES = 3
PUK_TRIES = 10
MAX_PEERS = 32
MAX_NAME = 64
WHAT = "phone.json"
_PEER_LABEL = b"phonevault v1 peer id"


@dataclass(frozen=True)
class Argon2Cost:
    """Cost of Argon2id (RFC 9106). `memory_kib` in KiB."""

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4


# What a file may ask for: enough not to be weak, little enough not to hang a small machine.
MIN_COST = Argon2Cost(8 * 1024, 1, 1)
MAX_COST = Argon2Cost(1024 * 1024, 16, 16)


@dataclass(frozen=True)
class WrappedKey:
    """The master key, sealed with AES-256-GCM under Argon2id of a PIN or PUK."""

    cost: Argon2Cost
    salt: bytes
    nonce: bytes
    sealed: bytes = field(repr=False)

    def as_json(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "argon2id": {
                "iterations": self.cost.iterations,
                "lanes": self.cost.lanes,
                "memory_kib": self.cost.memory_kib,
                "salt": self.salt.hex(),
            },
            "nonce": self.nonce.hex(),
            "sealed": self.sealed.hex(),
        }

    @classmethod
    def parse(cls, fields: Fields) -> WrappedKey:
        """Take the JSON form; `StoreDamaged` for anything else or a cost out of bounds."""
        kdf = fields.object("argon2id")
        cost = Argon2Cost(
            kdf.integer("memory_kib", MIN_COST.memory_kib, MAX_COST.memory_kib),
            kdf.integer("iterations", MIN_COST.iterations, MAX_COST.iterations),
            kdf.integer("lanes", MIN_COST.lanes, MAX_COST.lanes),
        )
        salt = kdf.octets("salt", 16)
        kdf.finish()
        wrapped = cls(cost, salt, fields.octets("nonce", 12), fields.octets("sealed", 48))
        fields.finish()
        return wrapped


def peer_id(public: bytes) -> bytes:
    """Return the 8 bytes that name a computer's static public key on the link."""
    return hashlib.sha256(_PEER_LABEL + public).digest()[:8]


@dataclass(frozen=True)
class Peer:
    """A paired computer."""

    name: str
    public: bytes
    paired: str

    @property
    def id(self) -> bytes:
        """First 8 bytes of SHA-256(label ‖ static public key)."""
        return peer_id(self.public)

    def as_json(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"name": self.name, "paired": self.paired, "public": self.public.hex()}

    @classmethod
    def parse(cls, fields: Fields) -> Peer:
        """Take the JSON form."""
        peer = cls(fields.string("name", MAX_NAME), fields.octets("public", 32), fields.string("paired", 20))
        fields.finish()
        return peer


@dataclass(frozen=True)
class PhoneFile:
    """All of phone.json."""

    store_id: bytes
    name: str
    created: str
    static_private: bytes = field(repr=False)
    pin: WrappedKey
    puk: WrappedKey
    pin_tries: int = PIN_TRIES
    puk_tries: int = PUK_TRIES
    peers: tuple[Peer, ...] = ()

    def peer(self, identity: bytes) -> Peer | None:
        """Return the computer with this 8-byte id, or None."""
        return next((peer for peer in self.peers if peer.id == identity), None)

    def encode(self) -> bytes:
        """Return the file's bytes."""
        return strict_json.encode(
            {
                "created": self.created,
                "format": FORMAT,
                "name": self.name,
                "peers": [peer.as_json() for peer in self.peers],
                "pin": self.pin.as_json(),
                "puk": self.puk.as_json(),
                "static_private": self.static_private.hex(),
                "store_id": self.store_id.hex(),
                "tries": {"pin": self.pin_tries, "puk": self.puk_tries},
                "version": VERSION,
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> PhoneFile:
        """Parse the file's bytes.

        Raises:
            StoreDamaged: not canonical, a member missing, unknown or out of bounds, or a computer twice.
            StoreTooNew: another format version.
        """
        fields = strict_json.decode(data, WHAT)
        check_version(fields, FORMAT, WHAT)
        tries = fields.object("tries")
        phone = cls(
            store_id=fields.octets("store_id", 16),
            name=fields.string("name", MAX_NAME),
            created=fields.string("created", 20),
            static_private=fields.octets("static_private", 32),
            pin=WrappedKey.parse(fields.object("pin")),
            puk=WrappedKey.parse(fields.object("puk")),
            pin_tries=tries.integer("pin", 0, PIN_TRIES),
            puk_tries=tries.integer("puk", 0, PUK_TRIES),
            peers=tuple(Peer.parse(Fields(entry, WHAT)) for entry in fields.items("peers", MAX_PEERS)),
        )
        tries.finish()
        fields.finish()
        if len({peer.id for peer in phone.peers}) != len(phone.peers):
            raise StoreDamaged(f"{WHAT} is damaged (a computer is listed twice)")
        return phone


def check_version(fields: Fields, expected_format: str, what: str) -> None:
    """Take `format` and `version`; `StoreTooNew` if the version is a later one."""
    fields.choice("format", (expected_format,))
    if fields.integer("version", 1, 1 << 31) != VERSION:
        raise StoreTooNew(f"{what} was made by a newer version of phonevault")

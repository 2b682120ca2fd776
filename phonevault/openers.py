"""What opens a slot: a phone, a passphrase, a recovery code. Joins `keyslots` with `phone_link` sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from keyslots import recovery_code
from keyslots.anchor import tag_of
from keyslots.derive import header_key, hmac_sha256
from keyslots.envelope import SealedHeader
from keyslots.errors import (
    HeaderTampered,
    NotMine,
    WrongKey,
    WrongPassphrase,
    WrongPhone,
    WrongRecoveryCode,
)
from keyslots.header import Header, Slot
from keyslots.memory import wipe
from keyslots.secret import Secret
from keyslots.slots import passphrase as passphrase_slots
from keyslots.slots import phone as phone_slots
from keyslots.slots import phones as phones_slots
from keyslots.slots import recovery as recovery_slots
from keyslots.slots.passphrase import PassphraseKem
from keyslots.slots.phone import PhoneKem
from keyslots.slots.phone_passphrase import PhonePassphraseKem, combine
from keyslots.slots.phones import PhonesKem
from keyslots.slots.recovery import RecoveryKem

if TYPE_CHECKING:
    from phone_link.host.anchor import Seen

FIRST_SEEN = "the phone has not seen this vault before: if it should have, somebody may have put another one in its place"
NOT_REMEMBERED = (
    "the phone does not remember this vault's header: it would not notice an old one put in its place"
)


class SlotOpener(Protocol):
    """One secret and how it opens slots."""

    def unwrap(self, header: Header, slot: Slot) -> Secret:
        """Return the slot's secret.

        Raises:
            NotMine: this secret does not fit this slot; another slot may be tried.
            KeyslotsError, phone_link.errors.LinkError: anything else ends the attempt.
        """
        ...

    def wrong_key(self, header: Header) -> WrongKey:
        """Return the error for when no slot of `header` fits."""
        ...

    def reads(self, sealed: SealedHeader) -> None:
        """Be told which header, as read, the slots are of that are tried next."""
        ...

    def verified(self, header: Mark) -> tuple[str, ...]:
        """Be told that the header opened.

        Returns:
            What the user should be told.

        Raises:
            LinkError: the phone knows better, or is gone.
        """
        ...

    def wrote(self, header: Mark) -> None:
        """Be told that a new header of the vault was written; errors as for `verified`."""
        ...


@dataclass(frozen=True)
class Mark:
    """What a phone remembers of a header.

    Attributes:
        vault_id: 16 bytes.
        generation: the header's.
        mac: the header's.
        tag: the same for all headers of the vault; only who has opened it knows it.
    """

    vault_id: bytes
    generation: int
    mac: bytes
    tag: bytes = field(repr=False)


def mark_of(header: Header, vmks: Mapping[int, Secret]) -> Mark:
    """Return the mark of a header of which all keys are at hand."""
    epochs = header.epochs
    with header_key(vmks[epochs.current], header.vault_id) as key:
        mac = hmac_sha256(key, header.encode())
    with tag_of(header, vmks) as tag:
        return Mark(header.vault_id, header.generation, mac, bytes(tag.view))


class _NoWitness:
    """An opener that remembers no headers."""

    def reads(self, sealed: SealedHeader) -> None:
        """Nothing to do."""

    def verified(self, header: Mark) -> tuple[str, ...]:
        """Nothing to say."""
        return ()

    def wrote(self, header: Mark) -> None:
        """Nothing to do."""


class PhoneSession(Protocol):
    """What is needed of `phone_link.host.PhoneSession`."""

    def decrypt(self, fingerprint: str, ciphertext: bytes, reason: str) -> bytearray:
        """Return the RSA-OAEP-SHA256 decryption of `ciphertext` under the key with this fingerprint (hex)."""
        ...

    def show_header(self, vault_id: bytes, generation: int, mac: bytes) -> Seen:
        """Show the phone a header that was read; it may refuse an old one."""
        ...

    def remember_header(self, vault_id: bytes, generation: int, mac: bytes, tag: bytes) -> bool:
        """Have it remember one; False if it cannot."""
        ...


class PhoneOpener:
    """Opens phone slots through a session with a paired phone."""

    def __init__(self, session: PhoneSession, fingerprint: str | None = None, reason: str = "") -> None:
        """Take an open session.

        Args:
            session: the phone.
            fingerprint: of the key pinned at pairing (SHA-256 in hex). Slots of other keys are then passed
                over without asking the phone.
            reason: what the phone shows when it asks its user.
        """
        self._session = session
        self._fingerprint = fingerprint
        self._reason = reason or "open vault"
        self._sealed: SealedHeader | None = None
        self._seen: Seen | None = None

    @property
    def fingerprint(self) -> str | None:
        """Of the key pinned at pairing, in lower-case hex, or None."""
        return self._fingerprint.lower() if self._fingerprint is not None else None

    def unwrap(self, header: Header, slot: Slot) -> Secret:
        """Let the phone decrypt the slot's secret.

        Raises:
            NotMine: no phone slot, or the phone does not have its key.
            HeaderTampered: the phone has the key, but the ciphertext was not made for it.
            LinkError: the phone refused, is gone, wants its PIN, ….
        """
        if not isinstance(slot.kem, PhoneKem):
            raise NotMine("not a phone slot")
        self.check_mine(slot.kem)
        return self.decapsulate(slot.kem, slot.id)

    def check_mine(self, kem: PhoneKem) -> None:
        """Pass over the slots of other phones without asking this one.

        Raises:
            NotMine: it is another phone's.
        """
        if self._fingerprint is not None and self._fingerprint.lower() != kem.fingerprint.hex():
            raise NotMine("a slot of another phone")

    def decapsulate(self, kem: PhoneKem, slot_id: int) -> Secret:
        """Let the phone decrypt; errors as for `unwrap`."""
        from phone_link.errors import DecryptFailed, KeyNotFound

        self._show()
        try:
            decrypted = self._session.decrypt(kem.fingerprint.hex(), kem.ciphertext, self._reason)
        except KeyNotFound:
            raise NotMine("the phone does not have the key of this slot") from None
        except DecryptFailed as error:
            raise HeaderTampered(
                f"the vault's header was tampered with: the secret of slot {slot_id} does not open"
            ) from error
        return phone_slots.slot_secret(decrypted)

    def reads(self, sealed: SealedHeader) -> None:
        """Remember the header, to show it to the phone before it decrypts anything of it."""
        self._sealed, self._seen = sealed, None

    def _show(self) -> None:
        if self._sealed is not None and self._seen is None:
            header = self._sealed.header
            self._seen = self._session.show_header(header.vault_id, header.generation, self._sealed.mac)

    def verified(self, header: Mark) -> tuple[str, ...]:
        """Have the phone remember the header, unless it is the one it knows."""
        from phone_link.host.anchor import Seen

        seen, self._seen = self._seen, None
        if seen is Seen.UNSUPPORTED:
            return (NOT_REMEMBERED,)
        if seen is Seen.KNOWN:
            return ()
        if not self._session.remember_header(header.vault_id, header.generation, header.mac, header.tag):
            return (NOT_REMEMBERED,)
        return (FIRST_SEEN,) if seen is Seen.UNKNOWN else ()

    def wrote(self, header: Mark) -> None:
        """Have the phone remember it."""
        self._session.remember_header(header.vault_id, header.generation, header.mac, header.tag)

    def wrong_key(self, header: Header) -> WrongKey:
        """Return the error for a phone that opens no slot by itself."""
        if any(isinstance(slot.kem, PhonePassphraseKem) for slot in header.slots):
            return WrongPhone(
                "this phone opens this vault only together with a passphrase, or not at all",
                hint="give both: --phone NAME --passphrase-file F",
            )
        if any(isinstance(slot.kem, PhonesKem) for slot in header.slots):
            return WrongPhone(
                "this phone opens this vault only together with others, or not at all",
                hint="give them: --phone NAME --phone NAME",
            )
        if any(isinstance(slot.kem, PhoneKem) for slot in header.slots):
            return WrongPhone("this phone does not open this vault: its key is in no slot")
        return WrongPhone("no phone opens this vault: it has no phone slot")


class PhonePassphraseOpener:
    """Opens the slots that need a phone and a passphrase. The passphrase stays the caller's to wipe."""

    def __init__(self, phone: PhoneOpener, passphrase: bytearray) -> None:
        self._phone = phone
        self._passphrase = passphrase

    def unwrap(self, header: Header, slot: Slot) -> Secret:
        """Derive the passphrase's half, then ask the phone for the other one: a wrong passphrase bothers nobody.

        Raises:
            NotMine: no such slot, or that of another phone or passphrase.
            HeaderTampered, LinkError, BadPassphrase, KdfMemory: as for the two openers.
        """
        if not isinstance(slot.kem, PhonePassphraseKem):
            raise NotMine("no slot for a phone and a passphrase")
        self._phone.check_mine(slot.kem.phone)
        with (
            passphrase_slots.unwrap(slot.kem.passphrase, self._passphrase) as second,
            self._phone.decapsulate(slot.kem.phone, slot.id) as first,
        ):
            return combine(first, second)

    def reads(self, sealed: SealedHeader) -> None:
        """Tell the phone's opener."""
        self._phone.reads(sealed)

    def verified(self, header: Mark) -> tuple[str, ...]:
        """Tell the phone's opener."""
        return self._phone.verified(header)

    def wrote(self, header: Mark) -> None:
        """Tell the phone's opener."""
        self._phone.wrote(header)

    def wrong_key(self, header: Header) -> WrongKey:
        """Return the error for a pair that fits no slot."""
        if any(isinstance(slot.kem, PhonePassphraseKem) for slot in header.slots):
            return WrongPassphrase("this phone and this passphrase together open no slot")
        return WrongPhone("no slot of this vault needs a phone and a passphrase together")


class PhonesOpener:
    """Opens the slots that some of several phones open together, with all of the phones it is given.

    Args:
        phones: each with the fingerprint that was pinned when it was paired.
    """

    def __init__(self, phones: Sequence[PhoneOpener]) -> None:
        self._phones = {phone.fingerprint: phone for phone in phones}
        self._asked: list[PhoneOpener] = []

    def unwrap(self, header: Header, slot: Slot) -> Secret:
        """Let each phone decrypt its share.

        Raises:
            NotMine: no such slot, or one that needs more phones than these.
            HeaderTampered, LinkError: as for `PhoneOpener.unwrap`, or the shares together do not open the slot.
        """
        kem = slot.kem
        if not isinstance(kem, PhonesKem):
            raise NotMine("no slot for several phones")
        mine = [
            (place, self._phones[part.fingerprint.hex()])
            for place, part in enumerate(kem.phones)
            if part.fingerprint.hex() in self._phones
        ]
        if len(mine) < kem.threshold:
            raise NotMine("a slot that needs other phones")
        shares: dict[int, Secret] = {}
        self._asked = [phone for _, phone in mine]
        try:
            for place, phone in mine:
                shares[place] = phone.decapsulate(kem.phones[place], slot.id)
            return phones_slots.unwrap(header.vault_id, slot.id, kem, shares)
        finally:
            for share in shares.values():
                share.wipe()

    def reads(self, sealed: SealedHeader) -> None:
        """Tell every phone's opener."""
        for phone in self._phones.values():
            phone.reads(sealed)

    def verified(self, header: Mark) -> tuple[str, ...]:
        """Tell the openers of the phones that were asked."""
        told = [warning for phone in self._asked for warning in phone.verified(header)]
        return tuple(dict.fromkeys(told))

    def wrote(self, header: Mark) -> None:
        """Tell the openers of the phones that were asked."""
        for phone in self._asked:
            phone.wrote(header)

    def wrong_key(self, header: Header) -> WrongKey:
        """Return the error for phones that open no slot together."""
        if any(isinstance(slot.kem, PhonesKem) for slot in header.slots):
            return WrongPhone("these phones together open no slot of this vault")
        return WrongPhone("no slot of this vault needs several phones")


class PassphraseOpener(_NoWitness):
    """Opens passphrase slots. The passphrase stays the caller's to wipe."""

    def __init__(self, passphrase: bytearray) -> None:
        self._passphrase = passphrase

    def unwrap(self, header: Header, slot: Slot) -> Secret:
        """Derive the slot's secret from the passphrase.

        Raises:
            NotMine: no passphrase slot, or that of another passphrase.
            BadPassphrase: empty, too long or not UTF-8.
            KdfMemory: not enough memory.
            HeaderTampered: the slot's ephemeral key is of small order.
        """
        if not isinstance(slot.kem, PassphraseKem):
            raise NotMine("not a passphrase slot")
        return passphrase_slots.unwrap(slot.kem, self._passphrase)

    def wrong_key(self, header: Header) -> WrongKey:
        """Return the error for a passphrase that fits no slot."""
        if any(isinstance(slot.kem, PassphraseKem) for slot in header.slots):
            return WrongPassphrase("wrong passphrase")
        return WrongPassphrase("no passphrase opens this vault: it has no passphrase slot")


class RecoveryOpener(_NoWitness):
    """Opens recovery slots. `wipe` it, or the code stays in memory until it is collected."""

    def __init__(self, code: str | bytes | bytearray) -> None:
        """Read the code as typed.

        Raises:
            BadRecoveryCode: it is none: length, a character, or the checksum is wrong.
        """
        self._code = recovery_code.parse_code(code)
        if isinstance(code, bytearray):
            wipe(code)

    def unwrap(self, header: Header, slot: Slot) -> Secret:
        """Derive the slot's secret from the code.

        Raises:
            NotMine: no recovery slot, or that of another code.
            HeaderTampered: the slot's ephemeral key is of small order.
        """
        if not isinstance(slot.kem, RecoveryKem):
            raise NotMine("not a recovery slot")
        return recovery_slots.unwrap(slot.kem, self._code)

    def wrong_key(self, header: Header) -> WrongKey:
        """Return the error for a code that fits no slot."""
        if any(isinstance(slot.kem, RecoveryKem) for slot in header.slots):
            return WrongRecoveryCode("wrong recovery code: it is well formed, but not of this vault")
        return WrongRecoveryCode("no recovery code opens this vault: it has no recovery slot")

    def wipe(self) -> None:
        """Wipe the code."""
        self._code.wipe()

"""Slots against vectors computed step by step with calls of `cryptography` (docs/format.md 1.3, 1.4)."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import unicodedata

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from support.headers import CHEAP, OAEP, PASSPHRASE, made, plain_canonical, public_der, rsa_key

from keyslots import edit, epochs, labels
from keyslots.build import PassphraseSlotRequest, PhoneSlotRequest, RecoverySlotRequest, new_header, new_slot
from keyslots.derive import derive, hkdf
from keyslots.envelope import SealedHeader
from keyslots.errors import BadParameter, BadPassphrase, HeaderTampered, NotMine
from keyslots.header import Slot
from keyslots.secret import Secret
from keyslots.slots import passphrase, phone, recovery, spki, x25519
from keyslots.slots.passphrase import Cost
from keyslots.unlock import open_slot
from keyslots.wrap import unwrap_slot


def plain_hkdf(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(ikm)


def plain_unwrap(slot: Slot, vault_id: bytes, slot_secret: bytes) -> bytes:
    """VMK of the only epoch, from docs/format.md 1.3."""
    info = b"phonevault v1 slot kek\x00" + slot.kind.encode() + b"\x00" + bytes([slot.id])
    kek = plain_hkdf(slot_secret, vault_id, info, 32)
    kem = slot.to_json()["kem"]
    aad = {"epoch": 1, "kem": kem, "kind": slot.kind, "slot": slot.id, "vault_id": vault_id.hex()}
    (key,) = slot.keys
    return AESGCM(kek).decrypt(key.nonce, key.wrapped, plain_canonical(aad))


def plain_x25519(ikm: bytes, salt: bytes, kem: dict[str, str]) -> bytes:
    private = X25519PrivateKey.from_private_bytes(plain_hkdf(ikm, salt, b"phonevault v1 slot x25519", 32))
    assert private.public_key().public_bytes_raw().hex() == kem["public_key"]
    return private.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(kem["ephemeral"])))


def test_phone_slot() -> None:
    vault = made()
    slot = vault.header.slots[0]
    kem = slot.to_json()["kem"]
    assert bytes.fromhex(kem["public_key"]) == public_der(rsa_key())
    assert kem["fingerprint"] == hashlib.sha256(public_der(rsa_key())).hexdigest()
    secret = rsa_key().decrypt(bytes.fromhex(kem["ciphertext"]), OAEP)
    assert len(secret) == 32
    assert plain_unwrap(slot, vault.header.vault_id, secret) == bytes(vault.vmk.view)
    assert unwrap_slot(vault.header, slot, Secret.take(bytearray(secret)))[1] == vault.vmk


def test_passphrase_slot() -> None:
    vault = made()
    slot = vault.header.slots[1]
    kem = slot.to_json()["kem"]
    salt = bytes.fromhex(kem["argon2id"]["salt"])
    cost = kem["argon2id"]
    kdf = Argon2id(
        salt=salt,
        length=32,
        iterations=cost["iterations"],
        lanes=cost["lanes"],
        memory_cost=cost["memory_kib"],
    )
    secret = plain_x25519(kdf.derive(PASSPHRASE), salt, kem)
    assert plain_unwrap(slot, vault.header.vault_id, secret) == bytes(vault.vmk.view)
    unwrapped = passphrase.unwrap(slot.kem, PASSPHRASE)
    assert bytes(unwrapped.view) == secret
    assert unwrap_slot(vault.header, slot, unwrapped)[1] == vault.vmk


def test_recovery_slot() -> None:
    vault = made()
    slot = vault.header.slots[2]
    kem = slot.to_json()["kem"]
    secret = plain_x25519(bytes(vault.code.view), bytes.fromhex(kem["salt"]), kem)
    assert plain_unwrap(slot, vault.header.vault_id, secret) == bytes(vault.vmk.view)
    assert unwrap_slot(vault.header, slot, recovery.unwrap(slot.kem, vault.code))[1] == vault.vmk


@pytest.mark.parametrize(
    ("label", "info", "length"),
    [
        (labels.HEADER_MAC, b"phonevault v1 header mac", 32),
        (labels.NAMES, b"phonevault v1 names", 64),
        (labels.SYMLINKS, b"phonevault v1 symlinks", 32),
        (labels.FILE_KEYS, b"phonevault v1 file keys", 32),
        (labels.XATTR_NAMES, b"phonevault v1 xattr names", 64),
        (labels.XATTRS, b"phonevault v1 xattrs", 32),
    ],
)
def test_keys_from_the_volume_key(label: bytes, info: bytes, length: int) -> None:
    vault = made()
    expected = plain_hkdf(bytes(vault.vmk.view), vault.header.vault_id, info, length)
    assert bytes(derive(vault.vmk, vault.header.vault_id, label).view) == expected


def test_header_mac() -> None:
    vault = made()
    key = plain_hkdf(bytes(vault.vmk.view), vault.header.vault_id, b"phonevault v1 header mac", 32)
    mac = hmac.digest(key, plain_canonical(vault.header.to_json()), "sha256")
    slot = vault.header.slots[2]
    with recovery.unwrap(slot.kem, vault.code) as secret:
        assert open_slot(SealedHeader(vault.header, mac), slot, secret).vmk == vault.vmk
        wrong = bytes([mac[0] ^ 1]) + mac[1:]
        with pytest.raises(HeaderTampered):
            open_slot(SealedHeader(vault.header, wrong), slot, secret)


@given(
    st.binary(min_size=1, max_size=80), st.binary(max_size=80), st.binary(max_size=80), st.integers(1, 200)
)
def test_hkdf_is_that_of_the_library(ikm: bytes, salt: bytes, info: bytes, length: int) -> None:
    assert bytes(hkdf(Secret.take(bytearray(ikm)), salt, info, length).view) == plain_hkdf(
        ikm, salt, info, length
    )


def test_hkdf_length_is_bounded() -> None:
    ikm = Secret.random(32)
    assert len(hkdf(ikm, b"", b"", 255 * 32)) == 8160
    with pytest.raises(ValueError, match="8160"):
        hkdf(ikm, b"", b"", 255 * 32 + 1)


def test_every_wrapping_has_a_fresh_secret_and_nonce() -> None:
    vault = made()
    requests = [PhoneSlotRequest(public_der(rsa_key())), RecoverySlotRequest(vault.code)]
    for request in requests:
        slots = [new_slot(vault.header.vault_id, 5, request, {1: vault.vmk}) for _ in range(4)]
        assert len({slot.keys[0].nonce for slot in slots}) == 4
        assert len({slot.keys[0].wrapped for slot in slots}) == 4
        assert len({repr(slot.kem) for slot in slots}) == 4


def test_a_new_volume_key_can_be_wrapped_without_the_passphrase() -> None:
    vault = made()
    kem, secret = passphrase.encapsulate(vault.header.slots[1].kem)
    assert passphrase.unwrap(kem, PASSPHRASE) == secret
    kem, secret = recovery.encapsulate(vault.header.slots[2].kem)
    assert recovery.unwrap(kem, vault.code) == secret


def test_several_live_epochs() -> None:
    vault = made()
    vmks = {1: vault.vmk, 7: Secret.random(32)}
    slot = new_slot(vault.header.vault_id, 3, RecoverySlotRequest(vault.code), vmks)
    assert [key.epoch for key in slot.keys] == [1, 7]
    opened = unwrap_slot(vault.header, slot, recovery.unwrap(slot.kem, vault.code))
    assert opened == vmks
    swapped = dataclasses.replace(
        slot,
        keys=tuple(
            dataclasses.replace(key, epoch=epoch) for key, epoch in zip(slot.keys, (7, 1), strict=True)
        ),
    )
    with pytest.raises(HeaderTampered):
        unwrap_slot(vault.header, swapped, recovery.unwrap(slot.kem, vault.code))


def test_other_secrets_do_not_fit() -> None:
    slots = made().header.slots
    with pytest.raises(NotMine):
        passphrase.unwrap(slots[1].kem, PASSPHRASE + b"!")
    with pytest.raises(NotMine):
        recovery.unwrap(slots[2].kem, Secret.random(20))


@pytest.mark.parametrize("field", ["id", "kem", "vault"])
def test_a_wrapped_key_is_bound_to_its_place(field: str) -> None:
    vault = made()
    slot, header = vault.header.slots[2], vault.header
    secret = recovery.unwrap(slot.kem, vault.code)
    if field == "id":
        slot = dataclasses.replace(slot, id=9)
    elif field == "kem":
        slot = dataclasses.replace(slot, kem=dataclasses.replace(slot.kem, salt=bytes(16)))
    else:
        header = dataclasses.replace(header, vault_id=bytes(16))
    with pytest.raises(HeaderTampered):
        unwrap_slot(header, slot, secret)


SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda point: point.hex()[:8])
def test_an_all_zero_shared_secret_is_refused(point: bytes) -> None:
    with pytest.raises(HeaderTampered):
        x25519.decapsulate(Secret.random(32), point)
    with pytest.raises(HeaderTampered, match="small order"):
        x25519.encapsulate(point)


@pytest.mark.parametrize("slot_id", [1, 2])
@pytest.mark.parametrize("point", SMALL_ORDER, ids=lambda point: point.hex()[:8])
def test_a_slot_with_a_public_key_of_small_order_is_not_wrapped_anew(slot_id: int, point: bytes) -> None:
    """Only who has the volume key can put it under the MAC; still it is no bug of the program that reads it."""
    vault = made()
    slots = [
        dataclasses.replace(slot, kem=dataclasses.replace(slot.kem, public_key=point))
        if slot.id == slot_id
        else slot
        for slot in vault.header.slots
    ]
    header = dataclasses.replace(vault.header, slots=tuple(slots))
    with pytest.raises(HeaderTampered, match="small order"):
        edit.rewrap_slot(header, {1: vault.vmk}, slot_id)
    with pytest.raises(HeaderTampered, match="small order"):
        epochs.begin_epoch(header, {1: vault.vmk})


@pytest.mark.parametrize(
    ("typed", "same"),
    [("Zoë", "Zoe\u0308"), ("ﬁ", "ﬁ"), ("\u212b", "\u00c5"), ("한글", unicodedata.normalize("NFD", "한글"))],
)
def test_passphrases_are_normalized(typed: str, same: str) -> None:
    assert passphrase.normalize(typed.encode()) == passphrase.normalize(bytearray(same.encode()))


def test_normalizing_leaves_the_callers_bytes_alone() -> None:
    typed = bytearray("Zoe\u0308".encode())
    passphrase.normalize(typed)
    assert typed == "Zoe\u0308".encode()


GROWING = ("\u0958" * 200).encode()  # 600 bytes, of which normal form C makes 1200


@pytest.mark.parametrize(
    "typed", [b"", b"x" * 1025, b"\xff\xfe", b"ok\x80", GROWING], ids=lambda typed: typed[:3]
)
def test_bad_passphrases(typed: bytes) -> None:
    with pytest.raises(BadPassphrase) as info:
        passphrase.normalize(typed)
    assert info.value.__cause__ is None  # a UnicodeDecodeError would quote the bytes


def test_the_longest_passphrase_fits() -> None:
    assert passphrase.normalize(b"x" * 1024) == b"x" * 1024


@pytest.mark.parametrize(
    "cost",
    [
        Cost(8191, 1, 1),
        Cost(4 * 1024 * 1024 + 1, 1, 1),
        Cost(8192, 0, 1),
        Cost(8192, 65, 1),
        Cost(8192, 1, 0),
        Cost(8192, 1, 17),
        Cost(4 * 1024 * 1024, 5, 1),
    ],
)
def test_costs_out_of_bounds_are_refused_before_work(cost: Cost) -> None:
    with pytest.raises(BadParameter):
        passphrase.new_key(PASSPHRASE, cost)


@pytest.mark.parametrize("bits", [2048, 3072, 4096, 2056, 2049])
def test_the_public_key_encoding_is_the_librarys(bits: int) -> None:
    modulus = (1 << bits - 1) | int.from_bytes(hashlib.sha512(b"%d" % bits).digest(), "big") | 1
    key = rsa.RSAPublicNumbers(65537, modulus).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert spki.encode(modulus) == der
    assert spki.modulus_bits(der) == bits


def test_public_keys_that_are_refused() -> None:
    good = public_der(rsa_key())
    small = rsa.RSAPublicNumbers(65537, (1 << 1023) | 1).public_key()
    other_exponent = rsa.RSAPublicNumbers(3, (1 << 2047) | 1).public_key()
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    others = [
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        for key in (small, other_exponent, curve)
    ]
    for der in [b"", good[:-1], good + b"\x00", b"\x31" + good[1:], bytes(len(good)), *others]:
        with pytest.raises(ValueError, match="not an RSA public key"):
            spki.modulus_bits(der)
        with pytest.raises(BadParameter):
            phone.encapsulate(der)


@given(st.binary(max_size=700))
def test_no_bytes_crash_the_key_reader(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an RSA public key"):
        spki.modulus_bits(data)


@given(st.integers(0, 293), st.integers(1, 255))
def test_a_changed_key_is_another_key_or_none(position: int, flip: int) -> None:
    changed = bytearray(public_der(rsa_key()))
    changed[position] ^= flip
    try:
        bits = spki.modulus_bits(bytes(changed))
    except ValueError:
        return
    assert bits < 2056
    assert 32 <= position < 289  # inside the modulus (its leading zero included); all around it is fixed


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_phone_that_decrypts_something_else(length: int) -> None:
    decrypted = bytearray(b"\x07" * length)
    with pytest.raises(HeaderTampered):
        phone.slot_secret(decrypted)
    assert decrypted == bytes(length)


@pytest.mark.parametrize(
    ("cipher", "block_size"),
    [
        ("aes-128-gcm", None),
        ("aes-256-gcm", 2048),
        ("aes-256-gcm", 131072),
        ("aes-256-xts", 5000),
        ("", None),
    ],
)
def test_new_headers_out_of_bounds(cipher: str, block_size: int | None) -> None:
    with pytest.raises(BadParameter):
        new_header([RecoverySlotRequest(made().code)], cipher, block_size)


@pytest.mark.parametrize("count", [0, 33])
def test_number_of_slots(count: int) -> None:
    with pytest.raises(BadParameter):
        new_header([RecoverySlotRequest(made().code)] * count, "aes-256-gcm")


@pytest.mark.parametrize("label", ["x" * 65, "line\nfeed", "\x00", "\u202e"])
def test_labels(label: str) -> None:
    with pytest.raises(BadParameter):
        new_slot(bytes(16), 0, RecoverySlotRequest(made().code, label), {1: made().vmk})


def test_requests_do_not_show_secrets() -> None:
    shown = repr(PassphraseSlotRequest(bytearray(PASSPHRASE), cost=CHEAP)) + repr(
        RecoverySlotRequest(made().code)
    )
    assert "horse" not in shown
    assert made().code.view.hex() not in shown

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from support.phone_bench import WRONG, encrypt, make_store, pin

from phone_link.cryptoki import CKM, CKR, OaepParameters
from phone_link.errors import DecryptFailed, KeyNotFound, PhoneError, PinIncorrect, PinRequired
from phone_link.phone.errors import StoreDamaged
from phone_link.phone.module import NewKey
from phone_link.phone.software import SoftwareModule
from phone_link.phone.store import Store

OAEP = OaepParameters()
SECRET = bytes(range(32))


@pytest.fixture
def module(store: Store) -> SoftwareModule:
    module = SoftwareModule(store)
    module.login(pin())
    return module


def test_decrypts_what_was_encrypted_to_its_key(module: SoftwareModule) -> None:
    (key,) = module.key_pairs()
    assert module.decrypt_oaep(key.id, OAEP, encrypt(key.public_der, SECRET)) == SECRET
    labelled = OaepParameters(label=b"label")
    assert module.decrypt_oaep(key.id, labelled, encrypt(key.public_der, SECRET, b"label")) == SECRET


def test_the_key_id_is_the_fingerprint(module: SoftwareModule) -> None:
    (key,) = module.key_pairs()
    assert key.id == hashlib.sha256(key.public_der).digest()


def test_nothing_private_works_before_login_or_after_logout(store: Store) -> None:
    module = SoftwareModule(store)
    (key,) = module.key_pairs()
    for _ in range(2):
        with pytest.raises(PinRequired):
            module.decrypt_oaep(key.id, OAEP, encrypt(key.public_der, SECRET))
        with pytest.raises(PinRequired):
            module.generate(NewKey(2048))
        module.login(pin())
        module.logout()
        module.logout()
    assert not module.logged_in


def test_a_wrong_pin_leaves_an_existing_login(module: SoftwareModule) -> None:
    with pytest.raises(PinIncorrect):
        module.login(pin(WRONG))
    assert module.logged_in
    assert module.info().pin_tries_left == 2


def test_logout_wipes_the_master_key(module: SoftwareModule) -> None:
    master = module._master
    assert master is not None and any(master)
    module.logout()
    assert not any(master)


def test_every_bad_cryptogram_gives_the_same_error(module: SoftwareModule) -> None:
    (key,) = module.key_pairs()
    good = encrypt(key.public_der, SECRET)
    public = serialization.load_der_public_key(key.public_der)
    assert isinstance(public, rsa.RSAPublicKey)
    sha1 = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    bad = [
        b"",
        good[:-1],
        good + b"\0",
        bytes(256),
        b"\xff" * 256,
        good[:-1] + bytes([good[-1] ^ 1]),
        encrypt(key.public_der, SECRET, b"another label"),
        public.encrypt(SECRET, sha1),
        public.encrypt(SECRET, padding.PKCS1v15()),
    ]
    errors = set()
    for cryptogram in bad:
        with pytest.raises(DecryptFailed) as caught:
            module.decrypt_oaep(key.id, OAEP, cryptogram)
        errors.add((caught.value.ckr, str(caught.value)))
    assert len(errors) == 1


def test_only_oaep_with_sha256_is_done(module: SoftwareModule) -> None:
    (key,) = module.key_pairs()
    for parameters in (replace(OAEP, hash_mechanism=0x220), replace(OAEP, mask_generation=1)):
        with pytest.raises(PhoneError) as caught:
            module.decrypt_oaep(key.id, parameters, b"")
        assert caught.value.ckr == CKR.MECHANISM_PARAM_INVALID


def test_an_unknown_key_is_not_found(module: SoftwareModule) -> None:
    with pytest.raises(KeyNotFound):
        module.decrypt_oaep(b"no", OAEP, b"")


def test_a_new_key_is_there_after_a_restart(module: SoftwareModule, store: Store) -> None:
    made = module.generate(NewKey(2048, "second", b"\x01\x02", ("decrypt", "sign")))
    again = SoftwareModule(store)
    again.login(pin())
    assert made in again.key_pairs() and len(again.key_pairs()) == 2
    assert again.decrypt_oaep(b"\x01\x02", OAEP, encrypt(made.public_der, SECRET)) == SECRET


def test_a_key_for_signing_only_does_not_decrypt(module: SoftwareModule) -> None:
    made = module.generate(NewKey(2048, usage=("sign",)))
    with pytest.raises(PhoneError) as caught:
        module.decrypt_oaep(made.id, OAEP, encrypt(made.public_der, SECRET))
    assert caught.value.ckr == CKR.KEY_FUNCTION_NOT_PERMITTED


@pytest.mark.parametrize(
    ("request_", "ckr"),
    [
        (NewKey(1024), CKR.KEY_SIZE_RANGE),
        (NewKey(16384), CKR.KEY_SIZE_RANGE),
        (NewKey(2048, key_id=b"x" * 65), CKR.ATTRIBUTE_VALUE_INVALID),
        (NewKey(2048, "x" * 65), CKR.ATTRIBUTE_VALUE_INVALID),
    ],
)
def test_an_unacceptable_request_makes_no_key(module: SoftwareModule, request_: NewKey, ckr: CKR) -> None:
    with pytest.raises(PhoneError) as caught:
        module.generate(request_)
    assert caught.value.ckr == ckr
    assert len(module.key_pairs()) == 1


def test_a_taken_id_is_refused(module: SoftwareModule) -> None:
    (key,) = module.key_pairs()
    with pytest.raises(PhoneError) as caught:
        module.generate(NewKey(2048, key_id=key.id))
    assert caught.value.ckr == CKR.ATTRIBUTE_VALUE_INVALID


@pytest.mark.parametrize("member", ["policy", "usage", "label", "public", "created", "sealed", "nonce"])
def test_a_changed_key_file_is_refused_when_used(store: Store, tmp_path: Path, member: str) -> None:
    (key,) = store.read_keys()
    other = make_store(tmp_path / "other").store.read_keys()[0]
    changed = {
        "policy": replace(key, policy="auto"),
        "usage": replace(key, usage=("decrypt", "sign")),
        "label": replace(key, label="other"),
        "public": replace(key, public=other.public),
        "created": replace(key, created="2000-01-01T00:00:00Z"),
        "sealed": replace(key, sealed=key.sealed[:-1] + bytes([key.sealed[-1] ^ 1])),
        "nonce": replace(key, nonce=other.nonce),
    }[member]
    store.write_key(changed)
    module = SoftwareModule(store)
    module.login(pin())
    with pytest.raises(StoreDamaged):
        module.decrypt_oaep(key.id, OAEP, encrypt(key.public, SECRET))


def test_a_public_key_of_another_kind_is_damage(store: Store) -> None:
    (key,) = store.read_keys()
    store.write_key(replace(key, public=b"\x30\x00"))
    with pytest.raises(StoreDamaged):
        SoftwareModule(store)


def test_random_bytes_are_as_many_as_asked(module: SoftwareModule) -> None:
    assert len(module.random(40)) == 40
    assert module.random(32) != module.random(32)


def test_mechanism_numbers_are_those_of_the_standard() -> None:
    assert (CKM.RSA_PKCS_OAEP, CKM.SHA256) == (9, 0x250)
    assert OAEP.encode().hex() == "00000250000000020000"

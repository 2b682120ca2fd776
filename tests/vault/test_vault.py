"""Creating and opening vaults through the facade, with each way in and each way to be wrong."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from support.headers import CHEAP, PASSPHRASE, edited, public_der, rsa_key
from support.software_phone import Phone

from keyslots import store
from keyslots.derive import derive
from keyslots.errors import (
    BadParameter,
    BadPassphrase,
    BadRecoveryCode,
    HeaderDamaged,
    HeaderTampered,
    KdfMemory,
    WrongKey,
    WrongPassphrase,
    WrongPhone,
    WrongRecoveryCode,
)
from keyslots.labels import NAMES
from phone_link.errors import UserRefused
from phonevault import root_id, vault
from phonevault.errors import PhonevaultError
from phonevault.fs.format.dirid import open_directory_id
from phonevault.openers import FIRST_SEEN
from phonevault.vault import (
    CreatedVault,
    PassphraseOpener,
    PassphraseSlotRequest,
    PhoneOpener,
    PhoneSlotRequest,
    RecoveryOpener,
    RecoverySlotRequest,
    SlotOpener,
)


def all_slots() -> list[PhoneSlotRequest | PassphraseSlotRequest | RecoverySlotRequest]:
    return [
        PhoneSlotRequest(public_der(rsa_key()), "my phone"),
        PassphraseSlotRequest(bytearray(PASSPHRASE), cost=CHEAP),
        RecoverySlotRequest(),
    ]


@pytest.fixture
def created(tmp_path: Path) -> CreatedVault:
    return vault.create(tmp_path / "vault", cipher="aes-256-gcm", slots=all_slots())


def openers(created: CreatedVault) -> list[SlotOpener]:
    assert created.recovery_code is not None
    return [
        PhoneOpener(Phone(0)),
        PassphraseOpener(bytearray(PASSPHRASE)),
        RecoveryOpener(created.recovery_code),
    ]


def test_what_create_makes(created: CreatedVault) -> None:
    found = {str(path.relative_to(created.path)) for path in created.path.rglob("*")}
    assert found == {"phonevault.json", "phonevault.json.bak", "tree", "tree/phonevault.dirid"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in [created.path, *created.path.rglob("*")])
    assert created.header.block_size == 4096
    assert [slot.kind for slot in created.header.slots] == ["phone", "passphrase", "recovery"]
    blob = (created.path / "tree" / "phonevault.dirid").read_bytes()
    names = AESSIV(bytes(derive(created.vmk, created.vault_id, NAMES).view))
    assert len(open_directory_id(names, blob)) == 16


def test_each_slot_opens_the_vault(created: CreatedVault) -> None:
    for slot_id, opener in enumerate(openers(created)):
        opened = vault.open_vault(created.path, opener)
        assert opened.vmk == created.vmk
        assert opened.slot.id == slot_id
        assert opened.warnings == ((FIRST_SEEN,) if slot_id == 0 else ())
        assert opened.tree == created.path / "tree"
        assert vault.test_slot(created.path, opener).id == slot_id
        opened.wipe()
        assert opened.vmks[1].wiped


def test_shown_objects_hold_no_secret(created: CreatedVault) -> None:
    opened = vault.open_vault(created.path, openers(created)[1])
    assert created.recovery_code is not None
    shown = repr(created) + repr(opened)
    assert created.recovery_code not in shown
    assert created.vmk.view.hex() not in shown


def test_a_created_vault_is_wiped(created: CreatedVault) -> None:
    code = created.recovery_code
    created.wipe()
    assert created.vmk.wiped
    assert created.recovery_code is None
    assert code == "\0" * 44


def test_an_xts_vault_in_an_existing_empty_directory(tmp_path: Path) -> None:
    made = vault.create(tmp_path, cipher="aes-256-xts", slots=[RecoverySlotRequest()], block_size=8192)
    assert made.header.cipher == "aes-256-xts"
    assert made.header.block_size == 8192
    assert made.recovery_code is not None
    assert vault.open_vault(tmp_path, RecoveryOpener(made.recovery_code)).vmk == made.vmk


def test_without_a_recovery_slot_there_is_no_code(tmp_path: Path) -> None:
    made = vault.create(tmp_path, cipher="aes-256-gcm", slots=[PhoneSlotRequest(public_der(rsa_key()))])
    assert made.recovery_code is None


# --- wrong secrets ---


def test_wrong_secrets_are_three_clear_errors(created: CreatedVault, tmp_path: Path) -> None:
    other = vault.create(tmp_path / "other", cipher="aes-256-gcm", slots=[RecoverySlotRequest()])
    assert other.recovery_code is not None
    cases: list[tuple[SlotOpener, type[WrongKey]]] = [
        (PassphraseOpener(bytearray(b"wrong")), WrongPassphrase),
        (RecoveryOpener(other.recovery_code), WrongRecoveryCode),
        (PhoneOpener(Phone(1)), WrongPhone),
        (PhoneOpener(Phone()), WrongPhone),
    ]
    messages = set()
    for opener, error in cases:
        with pytest.raises(error) as info:
            vault.open_vault(created.path, opener)
        assert type(info.value) is error
        assert not isinstance(info.value, (HeaderDamaged, HeaderTampered))
        messages.add(str(info.value))
    assert len(messages) == 3


def test_a_vault_without_such_a_slot(tmp_path: Path, created: CreatedVault) -> None:
    phone_only = tmp_path / "phone"
    vault.create(phone_only, cipher="aes-256-gcm", slots=[PhoneSlotRequest(public_der(rsa_key()))])
    code_only = tmp_path / "code"
    vault.create(code_only, cipher="aes-256-gcm", slots=[RecoverySlotRequest()])
    phone_opener, passphrase_opener, recovery_opener = openers(created)
    for path, opener, error in (
        (phone_only, passphrase_opener, WrongPassphrase),
        (phone_only, recovery_opener, WrongRecoveryCode),
        (code_only, phone_opener, WrongPhone),
    ):
        with pytest.raises(error, match="it has no"):
            vault.open_vault(path, opener)


@pytest.mark.parametrize("typed", ["", "not a code", "0000-0000-0000-0000-0000-0000-0000-0000-0000"])
def test_a_mistyped_code_is_told_from_a_wrong_one(typed: str) -> None:
    with pytest.raises(BadRecoveryCode):
        RecoveryOpener(typed)


def test_a_code_given_as_bytearray_is_wiped(created: CreatedVault) -> None:
    assert created.recovery_code is not None
    typed = bytearray(created.recovery_code.lower().encode())
    opener = RecoveryOpener(typed)
    assert typed == bytes(len(typed))
    assert vault.open_vault(created.path, opener).vmk == created.vmk
    opener.wipe()
    with pytest.raises(ValueError, match="wiped"):
        vault.open_vault(created.path, opener)


def test_bad_passphrases_are_said_as_such(created: CreatedVault) -> None:
    with pytest.raises(BadPassphrase):
        vault.open_vault(created.path, PassphraseOpener(bytearray(b"\xff")))


def test_not_enough_memory_for_the_derivation(created: CreatedVault, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hungry:
        def __init__(self, **_: Any) -> None:
            pass

        def derive_into(self, *_: Any) -> int:
            raise MemoryError

    monkeypatch.setattr("keyslots.slots.passphrase.Argon2id", Hungry)
    with pytest.raises(KdfMemory, match="8 MiB"):
        vault.open_vault(created.path, PassphraseOpener(bytearray(PASSPHRASE)))


def test_one_of_several_passphrases_and_phones(tmp_path: Path) -> None:
    slots = [
        PhoneSlotRequest(public_der(rsa_key(0))),
        PhoneSlotRequest(public_der(rsa_key(1))),
        PassphraseSlotRequest(bytearray(b"one"), cost=CHEAP),
        PassphraseSlotRequest(bytearray(b"two"), cost=CHEAP),
    ]
    made = vault.create(tmp_path, cipher="aes-256-gcm", slots=slots)
    assert vault.open_vault(tmp_path, PassphraseOpener(bytearray(b"two"))).slot.id == 3
    phone = Phone(1)
    assert vault.open_vault(tmp_path, PhoneOpener(phone)).slot.id == 1
    assert len(phone.asked) == 2
    phone = Phone(1)
    (fingerprint,) = phone.keys
    opened = vault.open_vault(tmp_path, PhoneOpener(phone, fingerprint.upper(), "open Papers"))
    assert opened.vmk == made.vmk
    assert phone.asked == [(fingerprint, "open Papers")]


def test_a_refusal_of_the_phone_is_not_a_wrong_key(created: CreatedVault) -> None:
    with pytest.raises(UserRefused):
        vault.open_vault(created.path, PhoneOpener(Phone(0, refuse=True)))


def test_a_ciphertext_that_the_right_phone_cannot_open_is_tampering(created: CreatedVault) -> None:
    def edit(header: dict[str, Any]) -> None:
        kem = header["slots"][0]["kem"]
        kem["ciphertext"] = kem["ciphertext"][:-2] + ("00" if kem["ciphertext"][-2:] != "00" else "01")

    for name in ("phonevault.json", "phonevault.json.bak"):
        path = created.path / name
        path.write_bytes(edited(path.read_bytes(), edit))
    with pytest.raises(HeaderTampered):
        vault.open_vault(created.path, PhoneOpener(Phone(0)))


def test_a_damaged_copy_is_said(created: CreatedVault) -> None:
    (created.path / "phonevault.json").write_bytes(b"x")
    opened = vault.open_vault(created.path, openers(created)[2])
    assert opened.vmk == created.vmk
    assert len(opened.warnings) == 1


# --- a create that fails leaves nothing ---


class Failing:
    """The module `os` whose call number `fail_at` (of those that change or sync something) fails."""

    NAMES = ("open", "write", "fsync", "close", "replace")

    def __init__(self, counter: list[int], fail_at: int, error: BaseException) -> None:
        self._counter, self._fail_at, self._error = counter, fail_at, error

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.NAMES:
            return real

        def call(*args: Any, **options: Any) -> Any:
            self._counter[0] += 1
            if self._counter[0] - 1 == self._fail_at:
                if name == "close":
                    real(*args)
                raise self._error
            return real(*args, **options)

        return call


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=type
)
def test_a_failed_create_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool, error: BaseException
) -> None:
    target = tmp_path / "vault"
    fail_at = 0
    while True:
        if existing:
            target.mkdir()
        counter = [0]
        failing = Failing(counter, fail_at, error)
        with monkeypatch.context() as patch:
            patch.setattr(store, "os", failing)
            patch.setattr(vault, "os", failing)
            patch.setattr(root_id, "os", failing)
            try:
                vault.create(target, cipher="aes-256-gcm", slots=[RecoverySlotRequest()])
            except BaseException:  # noqa: BLE001
                pass
            else:
                if counter[0] <= fail_at:
                    break
                # Closing the descriptor that held the lock: nothing was written through it.
                assert store.load(target).warnings == ()
                shutil.rmtree(target)
                fail_at += 1
                continue
        assert target.exists() is existing
        if existing:
            assert list(target.iterdir()) == []
            target.rmdir()
        fail_at += 1
    assert fail_at > 15


def test_a_create_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path / "full", tmp_path / "file", tmp_path / "missing" / "vault"):
        with pytest.raises(PhonevaultError):
            vault.create(target, cipher="aes-256-gcm", slots=[RecoverySlotRequest()])
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["file", "full", "full/file"]


def test_requests_out_of_bounds_change_nothing(tmp_path: Path) -> None:
    target = tmp_path / "vault"
    for options in (
        {"cipher": "rot13", "slots": [RecoverySlotRequest()]},
        {"cipher": "aes-256-gcm", "slots": []},
        {"cipher": "aes-256-gcm", "slots": [PhoneSlotRequest(b"no key")]},
        {"cipher": "aes-256-gcm", "slots": [RecoverySlotRequest()], "block_size": 100},
        {"cipher": "aes-256-gcm", "slots": [RecoverySlotRequest("bad\nlabel")]},
    ):
        with pytest.raises(BadParameter):
            vault.create(target, **options)
    with pytest.raises(BadPassphrase):
        vault.create(target, cipher="aes-256-gcm", slots=[PassphraseSlotRequest(bytearray())])
    assert not target.exists()


def test_a_second_create_in_the_same_place_is_refused(created: CreatedVault) -> None:
    before = (created.path / "phonevault.json").read_bytes()
    with pytest.raises(PhonevaultError, match="not empty"):
        vault.create(created.path, cipher="aes-256-gcm", slots=[RecoverySlotRequest()])
    assert (created.path / "phonevault.json").read_bytes() == before

"""After a lock no key may be left: a process opens a vault, uses all its keys, wipes, and is scanned."""

from __future__ import annotations

import hmac
import subprocess
import sys
from pathlib import Path

import pytest
from support.headers import CHEAP, made, public_der, rsa_key
from support.memory_scan import scan

from keyslots import labels, recovery_code
from keyslots.build import (
    PassphraseSlotRequest,
    PhoneSlotRequest,
    RecoverySlotRequest,
    new_header,
    new_recovery_code,
)
from keyslots.derive import derive, header_key, hkdf
from keyslots.memory import wipe
from keyslots.secret import Secret
from keyslots.slots import passphrase as passphrase_slots
from keyslots.slots import recovery as recovery_slots
from keyslots.slots import x25519
from keyslots.store import save_new
from keyslots.wrap import kek

CHILD = Path(__file__).parent / "scan_child.py"
ASCII = b"a passphrase of nine words, more or less random"
UNICODE = "un mot de passe très très sûr, numéro dix-sept — ключ".encode()


class Vault:
    def __init__(self, directory: Path, phrase: bytes) -> None:
        directory.mkdir()
        self.directory = directory
        self.phrase = phrase
        self.code = new_recovery_code()
        requests = [
            PhoneSlotRequest(public_der(rsa_key())),
            PassphraseSlotRequest(bytearray(phrase), cost=CHEAP),
            RecoverySlotRequest(self.code),
        ]
        new = new_header(requests, "aes-256-gcm")
        self.header, self.vmk = new.header, new.vmk
        with header_key(self.vmk, self.header.vault_id) as key:
            save_new(directory, self.header, key)

    def derived(self) -> dict[str, bytes]:
        keys = {"vmk": bytes(self.vmk.view)}
        keys["prk of vmk"] = hmac.digest(self.header.vault_id, keys["vmk"], "sha256")
        for label in labels.KEY_BYTES:
            keys[label.decode()] = bytes(derive(self.vmk, self.header.vault_id, label).view)
        return keys

    def slot(self, slot_id: int, secret: Secret) -> dict[str, bytes]:
        slot = self.header.slots[slot_id]
        return {
            "slot secret": bytes(secret.view),
            "prk of slot secret": hmac.digest(self.header.vault_id, bytes(secret.view), "sha256"),
            "kek": bytes(kek(secret, self.header.vault_id, slot.kind, slot_id).view),
        }


@pytest.fixture(params=[ASCII, UNICODE], ids=["ascii", "unicode"])
def vault(tmp_path: Path, request: pytest.FixtureRequest) -> Vault:
    return Vault(tmp_path / "vault", request.param)


def check(vault: Vault, kind: str, given: bytes, secrets: dict[str, bytes]) -> None:
    """Start the child, see that the scan finds an open vault's key, then, after the wipe, nothing."""
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(vault.directory), kind, str(len(given))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(given)
        child.stdin.flush()
        assert child.stdout.readline() == b"open\n"
        assert "vmk" in scan(child.pid, secrets)
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"wiped\n"
        assert scan(child.pid, secrets) == {}
    finally:
        child.communicate()


def test_opened_with_a_phone(vault: Vault) -> None:
    from support.headers import OAEP

    kem = vault.header.slots[0].kem
    given = rsa_key().decrypt(kem.ciphertext, OAEP)
    check(vault, "phone", given, vault.derived() | vault.slot(0, Secret.take(bytearray(given))))


def test_opened_with_a_passphrase(vault: Vault) -> None:
    kem = vault.header.slots[1].kem
    secret = passphrase_slots.unwrap(kem, vault.phrase)
    private = passphrase_slots._private_key(vault.phrase, kem.salt, kem.cost)
    secrets = vault.derived() | vault.slot(1, secret)
    secrets |= {"x25519": bytes(private.view), "passphrase": vault.phrase}
    check(vault, "passphrase", vault.phrase, secrets)


def test_opened_with_a_recovery_code(vault: Vault) -> None:
    kem = vault.header.slots[2].kem
    text = bytes(recovery_code.format_code(vault.code))
    private = x25519.private_key(vault.code, kem.salt)
    secrets = vault.derived() | vault.slot(2, recovery_slots.unwrap(kem, vault.code))
    secrets |= {"x25519": bytes(private.view), "code": bytes(vault.code.view), "typed": text}
    check(vault, "recovery", text, secrets)


def test_making_a_header_leaves_no_key(tmp_path: Path) -> None:
    """The other direction, wrapping: the child makes a header with known volume key, code and passphrase."""
    vmk, code = Secret.random(32), new_recovery_code()
    given = bytes(vmk.view) + bytes(code.view) + ASCII
    secrets = {"vmk": bytes(vmk.view), "code": bytes(code.view), "passphrase": ASCII}
    vault = Vault(tmp_path / "vault", ASCII)
    check(vault, "wrap", given, secrets)


def test_the_scan_sees_hmac_pads_and_halves() -> None:
    made()  # any process will do: this one holds the vmk, and a copy of half of it XORed as HMAC does
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, os\nk = bytes(i * 3 % 256 for i in range(1, 33))\n"
            "x = bytearray(b ^ 0x36 for b in k[16:]); del k\nprint('ready', flush=True); sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        assert scan(child.pid, {"key": bytes(i * 3 % 256 for i in range(1, 33))})
        assert scan(child.pid, {"other": bytes(i * 5 % 256 for i in range(1, 33))}) == {}
    finally:
        child.communicate()


def test_hkdf_output_of_the_scan_is_the_products() -> None:
    """The needles above come from the product's own functions; this ties them to RFC 5869, test case 1."""
    ikm = Secret.take(bytearray(b"\x0b" * 22))
    okm = hkdf(ikm, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    assert bytes(okm.view).hex() == expected
    wipe(okm.view)

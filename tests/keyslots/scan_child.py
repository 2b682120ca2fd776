"""Started by test_memory_scan: opens a vault, uses every key, wipes; waits in both states to be scanned."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from phone_link.host.anchor import Seen


def read_exactly(length: int) -> bytearray:
    """Read from standard input into one bytearray, with no copy on the way."""
    data = bytearray(length)
    view = memoryview(data)
    while view:
        view = view[os.readv(0, [view]) :]
    return data


def pause(word: bytes) -> None:
    os.write(1, word + b"\n")
    os.readv(0, [bytearray(1)])


class Session:
    """A phone whose decryption is done already, by the test."""

    def __init__(self, decrypted: bytearray) -> None:
        self.decrypted = decrypted

    def decrypt(self, fingerprint: str, ciphertext: bytes, reason: str) -> bytearray:
        return self.decrypted

    def show_header(self, vault_id: bytes, generation: int, mac: bytes) -> Seen:
        return Seen.UNKNOWN

    def remember_header(self, vault_id: bytes, generation: int, mac: bytes, tag: bytes) -> bool:
        return True


def open_and_use(directory: Path, kind: str, length: int) -> None:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV

    from keyslots import labels
    from keyslots.derive import derive
    from keyslots.memory import wipe
    from phonevault import openers
    from phonevault.vault import open_vault

    given = read_exactly(length)
    opener: openers.SlotOpener
    if kind == "phone":
        opener = openers.PhoneOpener(Session(given))
    elif kind == "passphrase":
        opener = openers.PassphraseOpener(given)
    else:
        opener = openers.RecoveryOpener(given)
    opened = open_vault(directory, opener)
    wipe(given)
    if isinstance(opener, openers.RecoveryOpener):
        opener.wipe()
    keys = [derive(opened.vmk, opened.header.vault_id, label) for label in labels.KEY_BYTES]
    for key in keys:
        cipher = AESSIV(key.view) if len(key) == 64 else AESGCM(key.view)
        if isinstance(cipher, AESSIV):
            cipher.decrypt(cipher.encrypt(b"name", [b"ad"]), [b"ad"])
        else:
            nonce = os.urandom(12)
            cipher.decrypt(nonce, cipher.encrypt(nonce, b"text", None), None)
        del cipher
    pause(b"open")
    for key in keys:
        key.wipe()
    opened.wipe()


def wrap(length: int) -> None:
    from keyslots.build import PassphraseSlotRequest, RecoverySlotRequest, new_slot
    from keyslots.memory import wipe
    from keyslots.secret import Secret
    from keyslots.slots.passphrase import Cost

    given = read_exactly(length)
    vmk, code = Secret(32), Secret(20)
    view = memoryview(given)
    vmk.view[:], code.view[:] = view[:32], view[32:52]
    phrase = bytearray(length - 52)
    memoryview(phrase)[:] = view[52:]
    vault_id = bytes(16)
    new_slot(vault_id, 0, RecoverySlotRequest(code), {1: vmk})
    new_slot(vault_id, 1, PassphraseSlotRequest(phrase, cost=Cost(8192, 1, 1)), {1: vmk})
    pause(b"open")
    wipe(given)
    wipe(phrase)
    vmk.wipe()
    code.wipe()


def main() -> None:
    sys.path.insert(0, os.getcwd())
    from keyslots.memory import scrub_stack

    directory, kind, length = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if kind == "wrap":
        wrap(length)
    else:
        open_and_use(directory, kind, length)
    scrub_stack()
    pause(b"wiped")


if __name__ == "__main__":
    main()

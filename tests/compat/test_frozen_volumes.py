"""Volumes made by earlier programs (tests/compat/make_volume.py) open with this one: every way in, every byte of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import frozen_volumes
from support.computer import Computer
from support.headers import edited
from support.needs import need_fuse

from phone_link.cryptoki import CKG, CKM, OaepParameters
from phone_link.host.anchor import Seen
from phone_link.phone.software import SoftwareModule
from phone_link.phone.store import Store
from phonevault import vault
from phonevault.daemon.serve import give_keys
from phonevault.fs.filesystem import EncryptedFileSystem

pytestmark = [pytest.mark.mount, pytest.mark.anyone]

MAGIC = b"PVF1"
NEWER = 13


@pytest.fixture(params=frozen_volumes.NAMES)
def computer(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Computer]:
    """A computer with the volume; its description is in `described`."""
    made = Computer(tmp_path)
    volume = tmp_path / "volume"
    volume.mkdir()
    made.described = frozen_volumes.unpack(request.param, volume)  # type: ignore[attr-defined]
    made.vault, made.store = volume / frozen_volumes.VAULT, volume / frozen_volumes.PHONE
    made.code_file = volume / frozen_volumes.CODE
    made.code_file.chmod(0o600)
    made.pin_file.touch(mode=0o600)
    made.pin_file.write_bytes(frozen_volumes.PIN + b"\n")
    yield made
    made.close()


def by_passphrase(computer: Computer) -> tuple[object, ...]:
    path = computer.root / "passphrase"
    path.touch(mode=0o600)
    path.write_bytes(frozen_volumes.PASSPHRASE)
    return ("--passphrase-file", path)


class FrozenPhone:
    """A session with the volume's phone, without a link."""

    def __init__(self, store: Path) -> None:
        self.module = SoftwareModule(Store(store))
        self.module.login(bytearray(frozen_volumes.PIN))

    def decrypt(self, fingerprint: str, ciphertext: bytes, reason: str) -> bytearray:
        del reason
        return self.module.decrypt_oaep(
            bytes.fromhex(fingerprint), OaepParameters(CKM.SHA256, CKG.MGF1_SHA256, b""), ciphertext
        )

    def show_header(self, vault_id: bytes, generation: int, mac: bytes) -> Seen:
        return Seen.KNOWN

    def remember_header(self, vault_id: bytes, generation: int, mac: bytes, tag: bytes) -> bool:
        return False


def test_there_are_volumes_of_both_ciphers() -> None:
    assert {"v1-gcm", "v1-gcm-rotated", "v1-xts", "v1-gcm-phones"} <= set(frozen_volumes.NAMES)


def test_everything_in_it_is_as_it_was(computer: Computer) -> None:
    need_fuse()
    described: dict[str, Any] = computer.described  # type: ignore[attr-defined]
    computer.mount(*by_passphrase(computer), "--read-only")
    found = frozen_volumes.description(computer.place)
    assert found.keys() == described.keys()
    for name, about in described.items():
        assert found[name] == about, name
    computer.run("unmount", computer.place)
    computer.mount("--recovery-file", computer.code_file)
    assert frozen_volumes.description(computer.place) == described
    (computer.place / "1 bytes").write_bytes(b"written by a newer program")
    (computer.place / "4096 bytes").unlink()
    computer.run("unmount", computer.place)
    computer.mount(*by_passphrase(computer))
    assert (computer.place / "1 bytes").read_bytes() == b"written by a newer program"
    assert len(frozen_volumes.description(computer.place)) == len(described) - 1
    computer.run("unmount", computer.place)


def test_all_of_it_is_encrypted_anew(computer: Computer) -> None:
    need_fuse()
    described: dict[str, Any] = computer.described  # type: ignore[attr-defined]
    tree = computer.vault / "tree"
    names = {path.name for path in tree.iterdir() if "." not in path.name}
    computer.run("rotate", "content", computer.vault, *by_passphrase(computer))
    assert not names & {path.name for path in tree.iterdir()}
    computer.run("check", computer.vault, "--recovery-file", computer.code_file)
    computer.mount("--recovery-file", computer.code_file)
    assert frozen_volumes.description(computer.place) == described
    computer.run("unmount", computer.place)


def test_its_phone_opens_it(computer: Computer) -> None:
    need_fuse()
    computer.start_phone("--approve", "auto", "--accept-pairing")
    computer.pair()
    computer.mount()
    assert (computer.place / "0 bytes").read_bytes() == b""
    assert (computer.place / "65537 bytes").read_bytes() == frozen_volumes.pattern(65537)
    computer.run("unmount", computer.place)


def test_every_slot_gives_the_same_key(computer: Computer) -> None:
    code = computer.code_file.read_text().strip()
    openers: list[vault.SlotOpener] = [
        vault.PhoneOpener(FrozenPhone(computer.store)),
        vault.PassphraseOpener(bytearray(frozen_volumes.PASSPHRASE)),
        vault.RecoveryOpener(code),
    ]
    opened = [vault.open_vault(computer.vault, opener) for opener in openers]
    assert [each.slot.kind for each in opened] == ["phone", "passphrase", "recovery"]
    assert all(each.vmk == opened[0].vmk for each in opened)
    assert all(each.warnings == () for each in opened)


def test_two_phones_together_open_the_volume_that_is_for_three(tmp_path: Path) -> None:
    """The third one is gone for ever."""
    frozen_volumes.unpack("v1-gcm-phones", tmp_path)
    phones = [FrozenPhone(tmp_path / name) for name in (frozen_volumes.PHONE, frozen_volumes.SECOND_PHONE)]
    keys = [phone.module.key_pairs()[0] for phone in phones]
    members = [vault.PhoneOpener(phone, key.id.hex()) for phone, key in zip(phones, keys, strict=True)]
    together = vault.open_vault(tmp_path / frozen_volumes.VAULT, vault.PhonesOpener(members))
    alone = vault.open_vault(tmp_path / frozen_volumes.VAULT, members[0])
    assert (together.slot.kind, alone.slot.kind) == ("phones", "phone")
    assert together.vmk == alone.vmk
    assert together.header.flags == ("phones",)


def test_what_a_newer_program_may_write_is_refused(computer: Computer) -> None:
    need_fuse()
    copies = [computer.vault / name for name in ("phonevault.json", "phonevault.json.bak")]
    sound = copies[0].read_bytes()
    for change in ({"version": 2}, {"flags": ["a-feature-to-come"]}):
        for path in copies:
            path.write_bytes(edited(sound, lambda header: header.update(change)))  # noqa: B023
        computer.run("mount", computer.vault, computer.place, *by_passphrase(computer), code=NEWER)
        computer.run("info", computer.vault, code=NEWER)
    for path in copies:
        path.write_bytes(sound)
    inode = 0
    for path in sorted((computer.vault / "tree").iterdir()):
        alone = not path.is_symlink() and path.is_file() and path.stat().st_nlink == 1
        if alone and path.read_bytes()[:4] == MAGIC:
            path.chmod(0o600)
            raw = path.read_bytes()
            path.write_bytes(b"PVF2" + raw[4:])
            inode = path.stat().st_ino
            break
    computer.mount(*by_passphrase(computer))
    (changed,) = (path for path in computer.place.iterdir() if path.lstat().st_ino == inode)
    with pytest.raises(OSError) as caught:
        changed.read_bytes()
    assert caught.value.errno == 5
    assert os.listdir(computer.place)
    computer.run("unmount", computer.place)


def test_the_library_unlocks_its_tree(computer: Computer) -> None:
    opened = vault.open_vault(computer.vault, vault.PassphraseOpener(bytearray(frozen_volumes.PASSPHRASE)))
    header = opened.header
    umask = os.umask(0o022)
    try:
        filesystem = EncryptedFileSystem(
            opened.tree, header.vault_id, header.cipher, header.block_size, read_only=True
        )
    finally:
        os.umask(umask)
    give_keys(filesystem, opened)
    assert not filesystem.locked
    filesystem.lock()
    opened.wipe()

"""A tree whose files are of several volume keys, as a rotation leaves it half way: sound, and each with damage of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from check.ciphertext import CIPHERS, Ciphertext
from support.checking import check
from support.mounted_tree_child import VAULT_ID

from keyslots.secret import Secret
from phonevault.check.findings import Code
from phonevault.check.keys import CheckKeys
from phonevault.fs.keys import TreeKeys

EPOCH_AT = 8
"""Where a file's header says its epoch (docs/format.md 3)."""
BLOCK = 4096 + 28


def volume_key(epoch: int) -> Secret:
    return Secret.take(bytearray((byte + epoch - 1) % 256 for byte in range(32)))


def keys_of(*live: int) -> CheckKeys:
    """Keys of those epochs; names are of the first."""
    vmks = {epoch: volume_key(epoch) for epoch in live}
    try:
        return CheckKeys(vmks, VAULT_ID, live[0])
    finally:
        for vmk in vmks.values():
            vmk.wipe()


class HalfWay:
    """A tree of which some files are under the second volume key, and one under the third."""

    def __init__(self, tree: Path, cipher: str) -> None:
        self.made = Ciphertext.make(tree, cipher)
        self.cipher = cipher
        for path, epoch in ((b"folder/blocks", 2), (b"folder/small", 2), (b"folder/deep/blocks", 3)):
            self.wrap(self.made.stored(path), epoch)

    def wrap(self, path: Path, epoch: int) -> None:
        made = self.made
        with volume_key(epoch) as vmk:
            keys = TreeKeys(vmk, VAULT_ID, epoch)
        older = made._keys_of_files
        fd = os.open(path, os.O_RDWR)
        try:
            contents = made._kind(fd, made._layout)
            data = bytes(contents.read(older, 0, 1 << 20, *made._scratch))
            os.ftruncate(fd, 0)
            made._kind(fd, made._layout).write(keys, 0, memoryview(data), *made._scratch)
        finally:
            os.close(fd)
            keys.wipe()

    def epoch_of(self, path: bytes) -> int:
        return int.from_bytes(self.made.stored(path).read_bytes()[EPOCH_AT : EPOCH_AT + 4], "little")

    def codes(self, *live: int, repair: bool = False) -> dict[bytes, Code]:
        found = check(self.made.tree, self.cipher, repair=repair, keys=keys_of(*live))
        return {finding.path if isinstance(finding.path, bytes) else b"": finding.code for finding in found}


@pytest.fixture(params=CIPHERS)
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> HalfWay:
    found = HalfWay(tmp_path / "tree", request.param)
    assert [found.epoch_of(path) for path in (b"blocks", b"folder/blocks", b"folder/deep/blocks")] == [
        1,
        2,
        3,
    ]
    return found


def flip(path: Path, offset: int, bit: int = 1) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= bit
    path.write_bytes(raw)


def test_files_of_all_live_epochs_are_sound(tree: HalfWay) -> None:
    assert tree.codes(1, 2, 3) == {}
    assert tree.codes(1, 2, 3, repair=True) == {}


def test_what_needs_a_volume_key_that_is_gone_is_named(tree: HalfWay) -> None:
    assert tree.codes(1, 3) == {
        b"/folder/blocks": Code.FILE_EPOCH_GONE,
        b"/folder/small": Code.FILE_EPOCH_GONE,
        # /small and /folder/hard are one file, and of epoch 1
    }
    before = tree.made.stored(b"folder/blocks").read_bytes()
    tree.codes(1, 3, repair=True)  # the key may come back with an older header: nothing is touched
    assert tree.made.stored(b"folder/blocks").read_bytes() == before
    assert tree.codes(1, 2, 3) == {}


@pytest.mark.parametrize(
    ("path", "epoch", "said"), [(b"blocks", 1, 2), (b"folder/blocks", 2, 3), (b"folder/deep/blocks", 3, 1)]
)
def test_an_epoch_changed_to_another_live_one_is_found(
    tree: HalfWay, path: bytes, epoch: int, said: int
) -> None:
    flip(tree.made.stored(path), EPOCH_AT, epoch ^ said)
    assert tree.epoch_of(path) == said
    assert tree.codes(1, 2, 3) == {b"/" + path: Code.FILE_KEY_DAMAGED}


def test_damage_in_files_of_every_epoch_is_found(tree: HalfWay) -> None:
    if tree.cipher != "aes-256-gcm":
        for path in (b"blocks", b"folder/blocks", b"folder/deep/blocks"):
            flip(tree.made.stored(path), 50)  # the file's key: contents are not authenticated
        expected = Code.FILE_KEY_DAMAGED
    else:
        for path in (b"blocks", b"folder/blocks", b"folder/deep/blocks"):
            flip(tree.made.stored(path), 128 + BLOCK + 50)
        expected = Code.BLOCK_DAMAGED
    assert tree.codes(1, 2, 3) == {
        b"/blocks": expected,
        b"/folder/blocks": expected,
        b"/folder/deep/blocks": expected,
    }


def test_names_need_the_volume_key_of_names(tree: HalfWay) -> None:
    found = check(tree.made.tree, tree.cipher, keys=keys_of(2, 1, 3))
    assert Code.DIRECTORY_ID_DAMAGED in {finding.code for finding in found}

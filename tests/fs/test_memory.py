"""After a lock nothing in the serving process's memory opens a file or a name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.memory_scan import scan
from support.mounted_tree import mounted_tree
from support.mounted_tree_child import VAULT_ID

from keyslots import labels
from keyslots.derive import derive
from keyslots.secret import Secret
from phonevault.fs.format.file_header import HEADER_BYTES, open_header, parse_header
from phonevault.fs.keys import TreeKeys

pytestmark = pytest.mark.mount


def file_keys(tree: Path, keys: TreeKeys) -> dict[str, bytes]:
    found = {}
    for path in tree.rglob("*"):
        raw = path.read_bytes()[:HEADER_BYTES] if path.is_file() else b""
        if raw.startswith(b"PVF1"):
            key = memoryview(bytearray(32))
            open_header(raw, parse_header(raw), keys.file_keys, key)
            found[f"file key {len(found)}"] = bytes(key)
    return found


TREE_KEYS = [label for label in labels.KEY_BYTES if label != labels.HEADER_MAC]


def test_a_lock_leaves_no_key_and_no_plaintext(tmp_path: Path) -> None:
    vmk = Secret.take(bytearray(range(32)))
    secrets = {label.decode(): bytes(derive(vmk, VAULT_ID, label).view) for label in TREE_KEYS}
    plaintext, attribute = os.urandom(32), os.urandom(32)
    with mounted_tree(tmp_path) as mount:
        for number in range(40):
            (mount.path / f"f{number}").write_bytes(plaintext * 400)
        os.symlink("target", mount.path / "link")
        os.setxattr(mount.path / "f0", "user.name", attribute)
        mount.remount()
        handles = [os.open(mount.path / f"f{number}", os.O_RDWR) for number in range(40)]
        for handle in handles:
            assert os.lseek(handle, 0, os.SEEK_HOLE) == 12_800
            assert os.pread(handle, 32, 0) == plaintext
            os.pwrite(handle, b"x", 5)
            os.fsync(handle)
        assert os.copy_file_range(handles[0], handles[1], 12_000, 64, 0) == 12_000
        assert os.readlink(mount.path / "link") == "target"
        assert os.getxattr(handles[0], "user.name") == attribute
        os.setxattr(handles[1], "user.name", attribute)
        secrets |= file_keys(mount.tree, TreeKeys(vmk, VAULT_ID, 1))
        assert len(secrets) == len(TREE_KEYS) + 40
        assert scan(mount.pid, secrets), "the scan finds keys in use"
        mount.tell("lock")
        assert scan(mount.pid, {**secrets, "plaintext": plaintext, "attribute": attribute}) == {}
        mount.tell("unlock")
        assert os.pread(handles[0], 4, 8) == plaintext[8:12]
        for handle in handles:
            os.close(handle)

"""Default lists that change while an object without a name is made (O_TMPFILE): the kernel holds no lock of the directory then."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from support.direct_tree import DirectTree
from support.needs import need_xattrs

from phonevault.fs.acl import Entry, Tag, pack
from phonevault.fs.format.xattrs import ACL_DEFAULT
from phonevault.fs.xattr_store import Ciphertext, XattrStore
from phonevault.fuse.abi import Opcode


def default_list(group: int) -> bytes:
    return pack([Entry(Tag.USER_OBJ, 7), Entry(Tag.GROUP_OBJ, group), Entry(Tag.OTHER, 0)])


def mode_of_a_new_file(tree: DirectTree, name: bytes) -> int:
    tree.create(name, 0o666)
    (mode,) = (shown[0] for path, shown in tree.view().items() if path == b"/" + name)
    return stat.S_IMODE(mode)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda tree: tree.set_default_list(default_list(4)), 0o640, id="set"),
        pytest.param(lambda tree: tree.ask(Opcode.REMOVEXATTR, 1, ACL_DEFAULT + b"\0"), 0o666, id="removed"),
        pytest.param(lambda tree: tree.filesystem.lock(), None, id="lock"),
    ],
)
def test_a_list_that_was_read_before_it_changed_is_not_remembered(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[DirectTree], object],
    expected: int | None,
) -> None:
    need_xattrs(tmp_path)
    tree = DirectTree(tmp_path / "tree")
    tree.set_default_list(default_list(0))
    find, pending = XattrStore.find, [change]

    def and_then_it_changes(
        store: XattrStore, ciphertext: Ciphertext, mode: int, name: bytes
    ) -> bytes | None:
        found = find(store, ciphertext, mode, name)
        if name == ACL_DEFAULT and pending:
            pending.pop()(tree)
        return found

    monkeypatch.setattr(XattrStore, "find", and_then_it_changes)
    permissions = tree.filesystem._core.permissions
    root = tree.filesystem._core.nodes.root
    old = permissions.new_object(root, stat.S_IFREG | 0o666, 0)
    assert stat.S_IMODE(old.mode) == 0o600
    if expected is None:
        assert len(permissions._defaults) == 0
    else:
        assert mode_of_a_new_file(tree, b"f") == expected
        assert root in permissions._defaults

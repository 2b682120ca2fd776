"""The node table alone: places of hard links, and directories that are forgotten before what is in them."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from phonevault.fs import listing
from phonevault.fs.listing import Listing
from phonevault.fs.nodes import Node, NodeTable, key_of, pinned


def told(table: NodeTable, root: Path, path: str, parent: Node | None = None) -> Node:
    return table.remember(parent or table.root, Path(path).name, (root / path).lstat())


def test_a_key_tells_devices_and_inode_numbers_apart(tmp_path: Path) -> None:
    status = tmp_path.stat()
    other = os.stat_result((*status[:2], status.st_dev + 1, *status[3:]))
    table = NodeTable(tmp_path)
    assert key_of(status) == table.root.key != key_of(other)
    assert table.root.inode == status.st_ino
    assert stat.S_ISDIR(table.root.mode)


def test_the_descriptor_table_is_wide_from_the_start(tmp_path: Path) -> None:
    code = (
        "import sys; from phonevault.fs.nodes import NodeTable; table = NodeTable(sys.argv[1]); "
        "print(open('/proc/self/status').read())"
    )
    told = subprocess.run([sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True)
    size = next(int(line.split()[1]) for line in told.stdout.splitlines() if line.startswith("FDSize:"))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert size >= min(1024, soft)


def test_of_several_names_the_one_seen_last_is_first(tmp_path: Path) -> None:
    table = NodeTable(tmp_path)
    (tmp_path / "a").touch()
    for name in ("b", "c"):
        os.link(tmp_path / "a", tmp_path / name)
    node = told(table, tmp_path, "a")
    assert all(told(table, tmp_path, name) is node for name in ("b", "c", "a"))
    assert [name for _, name in node.links] == ["a", "c", "b"]
    assert table.place(node) == (table.root, "a")
    table.moved((tmp_path / "a").stat(), (table.root, "c"), (table.root, "d"))
    assert [name for _, name in node.links] == ["a", "d", "b"]
    assert table.misplaced(node, (table.root, "a"))
    assert not table.misplaced(node, (table.root, "a"))
    assert [name for _, name in node.links] == ["d", "b"]


def test_an_object_without_a_name_stays_until_the_kernel_forgets_it(tmp_path: Path) -> None:
    table = NodeTable(tmp_path)
    (tmp_path / "a").touch()
    node = told(table, tmp_path, "a")
    pin = pinned(table.directory(table.root).fd, "a")
    status = os.fstat(pin.fd)
    (tmp_path / "a").unlink()
    table.unlinked(pin, status, table.root, "a", last=True)
    assert node.links == () and node.handle is pin
    with pytest.raises(OSError, match="no name"):
        table.place(node)
    assert table.find(os.fstat(pin.fd)) is None
    assert table.get(node.id) is node
    table.forget(node.id, 1)
    with pytest.raises(OSError, match="unknown node"):
        table.get(node.id)


def test_a_new_object_under_an_old_number_is_not_forgotten_with_the_old_one(tmp_path: Path) -> None:
    """Another host put a directory where a file of the same inode number was."""
    table = NodeTable(tmp_path)
    (tmp_path / "a").mkdir()
    status = (tmp_path / "a").stat()
    as_file = os.stat_result((stat.S_IFREG | 0o600, *status[1:]))
    old, new = table.remember(table.root, "a", as_file), table.remember(table.root, "a", status)
    assert old is not new
    table.forget(old.id, 1)
    assert table.find(status) is new


def test_a_directory_forgotten_before_its_entries_is_the_same_when_it_comes_back(tmp_path: Path) -> None:
    table = NodeTable(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").touch()
    folder = told(table, tmp_path, "folder")
    node = told(table, tmp_path, "folder/a", folder)
    table.forget(folder.id, 1)
    assert table.find((tmp_path / "folder").stat()) is folder
    assert told(table, tmp_path, "folder") is folder
    assert table.get(folder.id) is folder
    table.forget(folder.id, 1)
    table.forget(node.id, 1)
    gone = folder.id
    del folder, node
    again = told(table, tmp_path, "folder")
    assert again.id > gone
    assert len(table.all_nodes()) == 2


def test_equal_hashes_stand_in_the_order_of_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "position_of", lambda stored: 10 * (len(stored) % 2) + 5)
    names = [f"{number}" for number in range(200)]
    for name in names:
        (tmp_path / name).touch()
    fd = os.open(tmp_path, os.O_PATH)
    found = Listing(fd)
    os.close(fd)
    assert found.stored == sorted(names, key=lambda name: (len(name) % 2, name))
    assert [(tmp_path / name).stat().st_ino for name in found.stored] == list(found.inodes)

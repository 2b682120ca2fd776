"""The machine's first file system."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from bluez_machine import initrd

DEP = """\
kernel/net/9p/9pnet.ko.xz:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz
kernel/drivers/virtio/virtio_ring.ko.xz:
kernel/fs/9p/9p.ko.xz: kernel/fs/netfs/netfs.ko.xz kernel/net/9p/9pnet.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/drivers/char/hw_random/virtio-rng.ko.xz:
"""


def test_what_a_module_needs_comes_before_it() -> None:
    dep = DEP.replace(
        "kernel/net/9p/9pnet.ko.xz kernel/drivers/virtio/virtio.ko.xz",
        "kernel/net/9p/9pnet.ko.xz kernel/drivers/virtio/virtio.ko.xz kernel/drivers/virtio/virtio_ring.ko.xz",
    )
    order = [path.rpartition("/")[2] for path in initrd.load_order(dep, ["9pnet_virtio", "9p", "virtio_rng"])]
    assert order == [
        *("virtio_ring.ko.xz", "virtio.ko.xz", "9pnet.ko.xz", "9pnet_virtio.ko.xz"),
        *("netfs.ko.xz", "9p.ko.xz", "virtio-rng.ko.xz"),
    ]


def test_a_module_that_is_not_listed_is_built_in() -> None:
    assert initrd.load_order(DEP, ["virtio_pci"]) == []


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Read a newc archive: name, mode, content."""
    found = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name_at = at + 110
        name = archive[name_at : name_at + name_size - 1].decode()
        assert archive[name_at + name_size - 1] == 0
        content_at = (name_at + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, archive[content_at : content_at + size])
        at = (content_at + size + 3) // 4 * 4


def test_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "busybox").write_bytes(b"a program")
    monkeypatch.setattr(initrd, "busybox", lambda: tmp_path / "busybox")
    module = tmp_path / "kernel" / "fs" / "9p" / "9p.ko.xz"
    module.parent.mkdir(parents=True)
    module.write_bytes(lzma.compress(b"a module"))
    (tmp_path / "modules.dep").write_text("kernel/fs/9p/9p.ko.xz:\n")
    found = entries(initrd.build(tmp_path, ["kernel", "host"], "python 'my agent.py'", Path("/tmp/a b")))
    assert found["bin/busybox"] == (0o100755, b"a program")
    assert found["modules/9p.ko"] == (0o100644, b"a module")
    assert found["bin"] == (0o040755, b"")
    mode, script = found["init"]
    assert mode == 0o100755
    lines = script.decode().splitlines()
    assert lines[0] == "#!/bin/busybox sh"
    assert "for tag in kernel host; do" in lines
    assert any("lowerdir=/layers/kernel:/layers/host," in line for line in lines)
    assert lines.index("mount --bind /root'/tmp/a b' /checkout") < lines.index(
        "mount -t tmpfs -o mode=1777 tmp /root/tmp"
    )
    assert lines[-1] == "exec chroot /root python 'my agent.py'"

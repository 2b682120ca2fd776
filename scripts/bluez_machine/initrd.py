"""The machine's first file system: a busybox, the modules that reach the host's root, and a script."""

from __future__ import annotations

import lzma
import re
import shlex
import stat
from collections.abc import Sequence
from pathlib import Path

MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_rng", "virtio_console")
_MAGIC = "070701"  # cpio "newc", as the kernel wants it

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /upper /root
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in {modules}; do insmod /modules/$module || echo "init: no $module"; done
for tag in {layers}; do
    mkdir -p /layers/$tag
    mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 $tag /layers/$tag || exec poweroff -f
done
mount -t tmpfs -o mode=755 upper /upper
mkdir /upper/new /upper/work
mount -t overlay -o lowerdir={lower},upperdir=/upper/new,workdir=/upper/work overlay /root || exec poweroff -f
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t devtmpfs dev /root/dev
mount -t tmpfs -o mode=755 run /root/run
mkdir /checkout
mount --bind /root{checkout} /checkout
mount -t tmpfs -o mode=1777 tmp /root/tmp
mkdir -p /root{checkout}
mount --bind /checkout /root{checkout}
exec chroot /root {agent}
"""


def build(modules_dir: Path, layers: Sequence[str], agent: str, checkout: Path) -> bytes:
    """The archive.

    Args:
        modules_dir: `/lib/modules/<release>` of the kernel, with its modules.dep.
        layers: Tags of the 9p exports that make up the root, the topmost first.
        agent: The shell words of the program that takes over.
        checkout: The project's directory, which the machine needs even if it lies below /tmp.
    """
    chain = load_order((modules_dir / "modules.dep").read_text(), MODULES)
    names = [_plain_name(path) for path in chain]
    lower = ":".join(f"/layers/{tag}" for tag in layers)
    script = INIT.format(
        modules=" ".join(names),
        layers=" ".join(layers),
        lower=lower,
        agent=agent,
        checkout=shlex.quote(str(checkout)),
    )
    files = [("init", script.encode(), 0o755), ("bin/busybox", busybox().read_bytes(), 0o755)]
    files += [
        (f"modules/{name}", _module(modules_dir / path), 0o644)
        for name, path in zip(names, chain, strict=True)
    ]
    return archive(["bin", "modules"], files)


def busybox() -> Path:
    """Debian's static busybox."""
    return next(path for path in (Path("/bin/busybox"), Path("/usr/bin/busybox")) if path.exists())


def load_order(modules_dep: str, wanted: Sequence[str]) -> list[str]:
    """Paths of the wanted modules and all they depend on, in the order in which to load them.

    A wanted module that is not listed is built into the kernel.
    """
    needs = {}
    for line in modules_dep.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {_module_name(path): path for path in needs}
    ordered: list[str] = []
    for name in wanted:
        if (path := by_name.get(name)) is not None:
            # depmod lists the dependencies with the deepest last
            ordered += [one for one in (*reversed(needs[path]), path) if one not in ordered]
    return ordered


def archive(directories: Sequence[str], files: Sequence[tuple[str, bytes, int]]) -> bytes:
    """A cpio archive of directories and files (name, content, mode)."""
    entries = [_entry(name, b"", stat.S_IFDIR | 0o755, number) for number, name in enumerate(directories, 1)]
    first = len(directories) + 1
    entries += [
        _entry(name, content, stat.S_IFREG | mode, number)
        for number, (name, content, mode) in enumerate(files, first)
    ]
    return b"".join((*entries, _entry("TRAILER!!!", b"", 0, 0)))


def _entry(name: str, content: bytes, mode: int, number: int) -> bytes:
    encoded = name.encode() + b"\0"
    # ino, mode, uid, gid, nlink, mtime, filesize, device and rdevice (2 each), namesize, check
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = (_MAGIC + "".join(f"{field:08x}" for field in fields)).encode()
    return _padded(header + encoded) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _module(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content


def _plain_name(path: str) -> str:
    return f"{_module_name(path)}.ko"


def _module_name(path: str) -> str:
    return re.sub(r"\.ko(\.\w+)?$", "", path.rpartition("/")[2]).replace("-", "_")

"""Debian packages for the machine: downloaded with apt, unpacked into a cache, never installed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bluez_machine.kernels import Kernel, in_order, is_image, parse_madison

WANTED = ("bluez", "dbus-daemon", "dbus-system-bus-common")
_DRIVERS = "comedi gpu hid hwmon iio infiniband input media mtd net platform scsi staging usb video"
NOT_NEEDED = ("sound", *(f"drivers/{directory}" for directory in _DRIVERS.split()))
"""Nine tenths of a kernel's modules, which stay in the package."""
TIMEOUT_S = 900
_NO_LOCK = ("-o", "Debug::NoLocking=1")


class Unavailable(Exception):
    """A package cannot be had here; one line for the user."""


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/phonevault-test`, made if needed."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    directory = Path(home) / "phonevault-test"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def available_kernels() -> list[Kernel]:
    """What apt offers, in the order in which to try.

    Raises:
        Unavailable: It offers none.
    """
    names = [name for name in _ask("apt-cache", "pkgnames", "linux-image-").split() if is_image(name)]
    kernels = in_order(parse_madison(_ask("apt-cache", "madison", *names))) if names else []
    if not kernels:
        raise Unavailable("apt offers no kernel image for the machine")
    return kernels


def kernel_tree(kernel: Kernel) -> Path:
    """A directory with the kernel (boot/) and its modules (usr/lib/modules/).

    Raises:
        Unavailable: The package cannot be downloaded.
    """

    def make(target: Path) -> None:
        with _downloads() as folder:
            _must(["apt-get", "download", f"{kernel.package}={kernel.version}"], folder)
            for deb in folder.glob("*.deb"):
                _unpack(deb, target, [f"*/kernel/{directory}" for directory in NOT_NEEDED])
        _merge_usr(target)
        _must(["depmod", "-b", str(target / "usr"), _release(target)], target)

    return _cached(f"kernel-{kernel.version}", make)


def bluez_tree() -> Path:
    """A directory with BlueZ, D-Bus and whatever they need that this system does not have installed.

    Raises:
        Unavailable: The packages cannot be downloaded.
    """
    install = ("apt-get", *_NO_LOCK, "install", "-y", "-q", "--no-install-recommends")
    listed = _ask(*install, "--print-uris", *WANTED)
    names = sorted(re.findall(r"^'\S+' (\S+\.deb) ", listed, re.MULTILINE))

    def make(target: Path) -> None:
        with _downloads() as folder:
            (folder / "partial").mkdir()
            where = ("-o", f"Dir::Cache::archives={folder}", "-o", "APT::Sandbox::User=root")
            _must([*install, *where, "--download-only", *WANTED], folder)
            for deb in folder.glob("*.deb"):
                _unpack(deb, target)
        _merge_usr(target)

    return _cached(f"bluez-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:16]}", make)


def _release(tree: Path) -> str:
    """`uname -r` of the kernel in a tree."""
    return next(path.name.removeprefix("vmlinuz-") for path in (tree / "boot").glob("vmlinuz-*"))


def vmlinuz(tree: Path) -> Path:
    """The kernel in a tree."""
    return tree / "boot" / f"vmlinuz-{_release(tree)}"


def modules(tree: Path) -> Path:
    """The directory of the modules in a tree."""
    return tree / "usr" / "lib" / "modules" / _release(tree)


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """The finished directory of this name; made under a lock, complete or not there at all."""
    cache = cache_dir()
    finished = cache / name
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second run waits for the first one's download
        if finished.exists():
            return finished
        for leftover in cache.glob("unfinished-*"):
            shutil.rmtree(leftover)
        target = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache))
        target.chmod(0o755)
        try:
            make(target)
            target.rename(finished)
        except BaseException:
            shutil.rmtree(target)
            raise
    return finished


@contextmanager
def _downloads() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="unfinished-", dir=cache_dir()) as name:
        yield Path(name)


def _unpack(deb: Path, target: Path, without: Sequence[str] = ()) -> None:
    """Unpack a package's files, except those that match a pattern."""
    excluded = [f"--exclude={pattern}" for pattern in without]
    tar = ["tar", "-x", "--no-same-owner", "-C", str(target), *excluded]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as reading:
        unpacked = subprocess.run(tar, stdin=reading.stdout, capture_output=True, text=True, check=False)
    if reading.returncode or unpacked.returncode:
        raise Unavailable(f"{deb.name} cannot be unpacked: {_last_line(unpacked.stderr)}")


def _merge_usr(tree: Path) -> None:
    """/bin, /lib, … of older packages go below /usr, where the system the tree is laid over has them."""
    for name in ("bin", "sbin", "lib", "lib64"):
        if (tree / name).is_dir():
            shutil.copytree(tree / name, tree / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(tree / name)


def _ask(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(command[:3])}: {_last_line(done.stderr)}")
    return done.stdout


def _must(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(command[:2])}: {_last_line(done.stderr)}")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]

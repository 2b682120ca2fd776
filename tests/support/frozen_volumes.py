"""Volumes kept as files: what is in them, how it is described, and how a volume is packed and unpacked.

A volume is a vault, the store of the phone that opens it, and the secrets of its other slots. It is packed as a tar archive in
which the ciphertext's extended attributes have records of their own.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import stat
import struct
import tarfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "compat" / "volumes"
NAMES = sorted(path.name.removesuffix(".tar.xz") for path in FOLDER.glob("*.tar.xz"))
PIN = b"271828"
PASSPHRASE = b"gr\xc3\xbcn und sehr kalt 1851"
VAULT, PHONE, CODE = "vault", "phone", "recovery-code"
SECOND_PHONE = "second-phone"
_XATTR = "PHONEVAULT.xattr."
_LONG, _LONGER = "l" * 180, "m" * 255
_ODD = os.fsdecode(bytes([1, 10, 27, 92, 255]) + b" -*")
_ACL = struct.pack("<I" + "HHI" * 5, 2, 1, 6, 2**32 - 1, 2, 4, 1000, 4, 4, 2**32 - 1, 16, 4, 2**32 - 1, 32, 0, 2**32 - 1)  # fmt: skip
"""user::rw-, user:1000:r--, group::r--, mask::r--, other::--- (linux/posix_acl_xattr.h)."""


def pattern(size: int) -> bytes:
    return b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(size // 32 + 1))[
        :size
    ]


def furnish(root: Path) -> None:
    """Everything that the format can hold, small."""
    for size in (0, 1, 15, 16, 17, 4095, 4096, 4097, 65537):
        (root / f"{size} bytes").write_bytes(pattern(size))
    _changed_files(root)
    (root / "folder" / _LONG / _ODD).mkdir(parents=True)
    for number, name in enumerate((_LONG + "file", _LONGER, _ODD, "Übergrößen 尺")):
        (root / name).write_text(f"name {number}")
    (root / "folder" / _LONG / _ODD / _LONGER).write_text("deep")
    for name, target in (
        ("link", "folder/nowhere"),
        ("long link", "t" * 3043),
        ("longest link", "u" * 4095),
        (_LONG + "link", _ODD),
    ):
        (root / name).symlink_to(target)
    os.link(root / "4097 bytes", root / "folder" / "hard link")
    os.link(root / "4097 bytes", root / ("hard" * 50))
    os.mkfifo(root / "fifo")
    os.mknod(root / "socket", stat.S_IFSOCK | 0o600)
    (root / "empty folder").mkdir()
    _attributes(root)


def _changed_files(root: Path) -> None:
    """Files with a past: holes, old ends, blocks written again."""
    with (root / "sparse").open("wb") as file:
        file.write(pattern(5000))
        file.seek(300_000)
        file.write(pattern(100))
        file.truncate(500_000)
    with (root / "written again").open("wb") as file:
        file.write(pattern(20_000))
    for offset, size in ((20_000, 9000), (4096, 4096), (100, 10)):
        with (root / "written again").open("r+b") as file:
            file.seek(offset)
            file.write(pattern(size))
    (root / "shortened").write_bytes(pattern(20_000))
    os.truncate(root / "shortened", 12_345)


def _attributes(root: Path) -> None:
    big = {"user.empty": b"", "user.binary": bytes(range(256)), "user." + "n" * 200: b"long name"}
    for path in (root / "1 bytes", root / "folder"):
        for name, value in big.items():
            os.setxattr(path, name, value)
    os.setxattr(root / "17 bytes", "system.posix_acl_access", _ACL)
    (root / "16 bytes").chmod(0o400)
    (root / "15 bytes").chmod(0o751)
    (root / "empty folder").chmod(0o1770)
    for number, path in enumerate(sorted(every(root), key=os.fsencode, reverse=True)):
        os.utime(path, ns=(10**18 + number, 10**18 + number), follow_symlinks=False)
    os.utime(root / "0 bytes", ns=(-1_000_000_001, -1_000_000_001))


def every(root: Path) -> list[Path]:
    return [Path(folder, name) for folder, below, rest in os.walk(root) for name in below + rest]


def description(root: Path) -> dict[str, Any]:
    """What a reader must find, by path (odd bytes as Python's surrogates)."""
    first: dict[int, str] = {}
    found: dict[str, Any] = {}
    for path in sorted(every(root), key=os.fsencode):
        status, name = path.lstat(), str(path.relative_to(root))
        about: dict[str, Any] = {
            "mode": oct(status.st_mode),
            "mtime_ns": status.st_mtime_ns,
            "same_as": first.setdefault(status.st_ino, name),
        }
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
            about |= {
                "size": status.st_size,
                "links": status.st_nlink,
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        if stat.S_ISLNK(status.st_mode):
            about |= {"size": status.st_size, "target": os.readlink(path)}
        elif stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            names = [key for key in sorted(os.listxattr(path)) if not key.startswith("security.")]
            about["xattrs"] = {key: os.getxattr(path, key).hex() for key in names}
        found[name] = about
    return found


def pack(folder: Path, target: Path) -> None:
    """Pack a volume; the same bytes for the same volume."""
    with tarfile.open(target, "w:xz", format=tarfile.PAX_FORMAT, preset=9) as archive:
        for path in sorted(every(folder), key=os.fsencode):
            info = archive.gettarinfo(path, str(path.relative_to(folder)))
            if info is None:  # a socket
                info = tarfile.TarInfo(str(path.relative_to(folder)))
                info.type, info.mode = tarfile.FIFOTYPE, stat.S_IMODE(path.lstat().st_mode)
                info.pax_headers["PHONEVAULT.socket"] = "1"
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            status = path.lstat()
            info.mtime = 0
            info.pax_headers["PHONEVAULT.mtime_ns"] = str(status.st_mtime_ns)
            for key in _stored_attributes(path):
                info.pax_headers[_XATTR + key] = base64.b64encode(os.getxattr(path, key)).decode()
            archive.addfile(info, io.BytesIO(path.read_bytes()) if info.isreg() else None)


def _stored_attributes(path: Path) -> list[str]:
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        return []
    return [key for key in sorted(os.listxattr(path)) if key.startswith("user.")]


def unpack(name: str, target: Path) -> dict[str, Any]:
    """Unpack a volume of :data:`FOLDER`; returns its description."""
    times: list[tuple[Path, int]] = []
    with tarfile.open(FOLDER / f"{name}.tar.xz") as archive:
        for info in archive:
            path = target / info.name
            _make(archive, info, path, target)
            for key, value in info.pax_headers.items():
                if key.startswith(_XATTR):
                    _with_write(path, key.removeprefix(_XATTR), base64.b64decode(value))
            times.append((path, int(info.pax_headers["PHONEVAULT.mtime_ns"])))
    for path, mtime_ns in reversed(times):
        os.utime(path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)
    described: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return described


def _make(archive: tarfile.TarFile, info: tarfile.TarInfo, path: Path, target: Path) -> None:
    """One member, as it was (tarfile's own extraction changes modes, more or less so from version to version)."""
    if info.issym():
        path.symlink_to(info.linkname)
        return
    if info.islnk():
        os.link(target / info.linkname, path)
        return
    if info.isdir():
        path.mkdir(0o700)
    elif info.isfifo():
        kind = stat.S_IFSOCK if "PHONEVAULT.socket" in info.pax_headers else stat.S_IFIFO
        os.mknod(path, kind | 0o600)
    else:
        content = archive.extractfile(info)
        assert content is not None
        path.write_bytes(content.read())
    path.chmod(info.mode)


def _with_write(path: Path, key: str, value: bytes) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode | 0o600)
    with contextlib.ExitStack() as stack:
        stack.callback(path.chmod, mode)
        os.setxattr(path, key, value)

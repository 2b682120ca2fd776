"""FUSE: the device, fusermount3, its settings, and a trial mount that shows the kernel's protocol."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from phonevault.doctor.finding import Finding, fine, not_applicable, problem, warning
from phonevault.fuse import abi
from phonevault.fuse.errors import FuseError, FusermountMissing, FuseUnavailable

DEVICE = Path("/dev/fuse")
CONFIGURATION = Path("/etc/fuse.conf")
_MAX_CONFIGURATION_BYTES = 65536
_LONGEST_LINE_BYTES = 255
"""fusermount3 reads lines of up to 255 bytes, line feed included, and ignores longer ones (libfuse, util/fusermount.c)."""
_INIT_TIMEOUT_S = 3.0
_LOAD = "load the kernel module with 'modprobe fuse'; in a container, pass the device /dev/fuse in"
_INSTALL = "install the package fuse3 (Debian: apt install fuse3)"


@dataclass(frozen=True)
class DeviceFacts:
    """What was seen of /dev/fuse: `kind` is "missing", "other" or "device"; `error` of opening it, or empty."""

    kind: str
    error: str = ""


@dataclass(frozen=True)
class ProgramFacts:
    """What was seen of fusermount3.

    Attributes:
        path: Where PATH finds it, or None.
        setuid_root: Its mode and owner make it run as root.
        capable: It has file capabilities instead.
        suid_honoured: Neither the file system's mount option nosuid nor this process's no_new_privs forbids that.
        is_root: This user is root.
    """

    path: str | None
    setuid_root: bool = False
    capable: bool = False
    suid_honoured: bool = True
    is_root: bool = False


def look_device() -> list[Finding]:
    """Whether /dev/fuse is there and opens."""
    return [judge_device(_device_facts(DEVICE))]


def judge_device(facts: DeviceFacts) -> Finding:
    """One finding."""
    if facts.kind == "missing":
        return problem("fuse-device", f"there is no {DEVICE}", _LOAD)
    if facts.kind == "other":
        return problem("fuse-device", f"{DEVICE} is no character device", _LOAD)
    if facts.error:
        advice = f"as root: 'chmod 666 {DEVICE}' (udev's usual mode)"
        return problem("fuse-device", f"{DEVICE} cannot be opened: {facts.error}", advice)
    return fine("fuse-device", f"{DEVICE} can be opened")


def look_program() -> list[Finding]:
    """Whether fusermount3 is there and may mount for this user."""
    return [judge_program(_program_facts(shutil.which("fusermount3")))]


def judge_program(facts: ProgramFacts) -> Finding:
    """One finding."""
    if facts.path is None:
        return problem("fusermount3", "not found in PATH", _INSTALL)
    if facts.is_root:
        return fine("fusermount3", f"{facts.path}, run as root")
    if not facts.setuid_root and not facts.capable:
        return problem(
            "fusermount3",
            f"{facts.path} is not setuid root: ordinary users cannot mount",
            f"as root: 'chmod u+s {facts.path}', or install the package fuse3 again",
        )
    if not facts.suid_honoured:
        return problem(
            "fusermount3",
            f"{facts.path} cannot become root here (no_new_privs, or a file system mounted nosuid)",
            "run phonevault outside of this sandbox or container",
        )
    return fine("fusermount3", f"{facts.path}, {'setuid root' if facts.setuid_root else 'file capabilities'}")


def look_configuration(path: Path = CONFIGURATION) -> list[Finding]:
    """Whether ordinary users may use --allow-other."""
    if os.geteuid() == 0:
        return [not_applicable("allow-other", "root may use --allow-other anyway")]
    try:
        content = _read_configuration(path)
    except FileNotFoundError:
        content = b""
    return [judge_configuration(content, str(path))]


def judge_configuration(content: bytes, path: str = str(CONFIGURATION)) -> Finding:
    """One finding. Not allowed is the usual setting and no fault."""
    if user_allow_other(content):
        return fine("allow-other", f"{path} lets users mount with --allow-other")
    return fine(
        "allow-other",
        f"only root may mount with --allow-other ({path})",
        "if you want it: the line 'user_allow_other', with a line feed at its end",
    )


def user_allow_other(content: bytes) -> bool:
    """Whether fusermount3 would find the word: a line of its own, complete, without its comment."""
    return any(
        line.endswith(b"\n")
        and len(line) <= _LONGEST_LINE_BYTES
        and line.partition(b"#")[0].strip() == b"user_allow_other"
        for line in content.splitlines(keepends=True)
    )


def look_trial() -> list[Finding]:
    """Mount a file system that answers nothing, to see which protocol the kernel speaks; it is gone at the end."""
    directory = tempfile.mkdtemp(prefix="phonevault-doctor-")
    try:
        return [_trial(Path(directory))]
    finally:
        os.rmdir(directory)


def judge_protocol(major: int, minor: int) -> Finding:
    """Whether the kernel's protocol (FUSE_INIT) is new enough."""
    oldest = f"{abi.KERNEL_VERSION}.{abi.OLDEST_MINOR_VERSION}"
    found = f"a trial mount works; the kernel speaks FUSE {major}.{minor}"
    if (major, minor) < (abi.KERNEL_VERSION, abi.OLDEST_MINOR_VERSION) or major != abi.KERNEL_VERSION:
        return problem("fuse-mount", found, f"FUSE {oldest} or later is needed: Linux 5.4 or later")
    return fine("fuse-mount", found)


def _trial(mountpoint: Path) -> Finding:
    from phonevault.fuse.mount import MountOptions, mount, unmount

    try:
        fd = mount(mountpoint, MountOptions("phonevault-doctor", subtype="phonevault-doctor"))
    except (FuseUnavailable, FusermountMissing) as error:
        return not_applicable("fuse-mount", f"no trial mount: {error}")
    except FuseError as error:
        return problem("fuse-mount", str(error), error.hint)
    try:
        init = _first_message(fd)
    finally:
        os.close(fd)  # the kernel ends the connection; what waits on the mount gets an error
        with contextlib.suppress(FuseError):
            unmount(mountpoint, lazy=True)
    if init is None:
        return warning("fuse-mount", "mounted, but the kernel did not begin to speak", "mount a vault to try")
    return judge_protocol(*init)


def _first_message(fd: int) -> tuple[int, int] | None:
    """Return major and minor version of FUSE_INIT, or None if it does not come."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if not poll.poll(_INIT_TIMEOUT_S * 1000):
        return None
    message = os.read(fd, 1 << 17)
    if len(message) < abi.IN_HEADER.size + abi.INIT_IN.size:
        return None
    major, minor, _, _ = abi.INIT_IN.unpack_from(message, abi.IN_HEADER.size)
    return major, minor


def _device_facts(path: Path) -> DeviceFacts:
    try:
        mode = path.stat().st_mode
    except OSError:
        return DeviceFacts("missing")
    if not stat.S_ISCHR(mode):
        return DeviceFacts("other")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return DeviceFacts("device", error.strerror or "refused")
    return DeviceFacts("device")


def _program_facts(path: str | None) -> ProgramFacts:
    if path is None:
        return ProgramFacts(None)
    status = os.stat(path)
    try:
        capable = bool(os.getxattr(path, "security.capability"))
    except OSError:
        capable = False
    return ProgramFacts(
        path=path,
        setuid_root=bool(status.st_mode & stat.S_ISUID) and status.st_uid == 0,
        capable=capable,
        suid_honoured=not os.statvfs(path).f_flag & os.ST_NOSUID and not _no_new_privileges(),
        is_root=os.geteuid() == 0,
    )


def _no_new_privileges() -> bool:
    """PR_SET_NO_NEW_PRIVS of this process (proc_pid_status(5))."""
    return "NoNewPrivs:\t1" in Path("/proc/self/status").read_text(encoding="ascii", errors="replace")


def _read_configuration(path: Path) -> bytes:
    """Its first 64 KiB; never waits (a FIFO), never reads what is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not a regular file", str(path))
        return os.read(descriptor, _MAX_CONFIGURATION_BYTES)
    finally:
        os.close(descriptor)

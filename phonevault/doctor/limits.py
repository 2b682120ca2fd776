"""Limits of this user's processes: locked memory, open files, core dumps, ptrace."""

from __future__ import annotations

import mmap
import resource
from dataclasses import dataclass
from pathlib import Path

from phonevault.doctor.finding import Finding, fine, warning

FIXED_PAGES = 16
"""Pages of locked memory for keys besides those of open files: volume keys, derived keys, secrets being used."""
KEYS_A_PAGE = 64
"""Slots of `phonevault.fs.key_arena` in a page: each open file takes one."""
ENOUGH_OPEN_FILES = 1024
"""Files open at a time in the mount for whose keys locked memory should suffice, and descriptors too."""
_CAP_IPC_LOCK = 14


@dataclass(frozen=True)
class Facts:
    """What was seen.

    Attributes:
        memlock_bytes: RLIMIT_MEMLOCK, soft; None without a limit, or with CAP_IPC_LOCK.
        nofile_hard: RLIMIT_NOFILE, hard (the daemon raises its own to it); None without a limit.
        core_soft: RLIMIT_CORE, soft, bytes; None without a limit.
        core_pattern: /proc/sys/kernel/core_pattern, or empty if it cannot be read.
        ptrace_scope: Of Yama, or None if the kernel has none.
    """

    memlock_bytes: int | None
    nofile_hard: int | None
    core_soft: int | None
    core_pattern: str
    ptrace_scope: int | None


def look() -> list[Finding]:
    """Observe and judge."""
    return judge(_facts())


def judge(facts: Facts) -> list[Finding]:
    """Four findings."""
    return [_memory(facts), _files(facts), _core_dumps(facts), _ptrace(facts)]


def keys_that_fit(memlock_bytes: int, page_bytes: int = mmap.PAGESIZE) -> int:
    """Return for how many open files the keys can be locked into memory."""
    return max(0, memlock_bytes // page_bytes - FIXED_PAGES) * KEYS_A_PAGE


def _memory(facts: Facts) -> Finding:
    if facts.memlock_bytes is None:
        return fine("locked-memory", "no limit")
    size = f"{facts.memlock_bytes // 1024:,} KiB"
    keys = keys_that_fit(facts.memlock_bytes)
    if keys < ENOUGH_OPEN_FILES:
        return warning(
            "locked-memory",
            f"{size}: beyond {keys} open files keys may reach swap space",
            "raise RLIMIT_MEMLOCK (memlock in /etc/security/limits.conf) to 8192 KiB",
        )
    return fine("locked-memory", f"{size}: keys of {keys:,} open files")


def _files(facts: Facts) -> Finding:
    if facts.nofile_hard is None:
        return fine("open-files", "no limit")
    if facts.nofile_hard < 2 * ENOUGH_OPEN_FILES:
        return warning(
            "open-files",
            f"at most {facts.nofile_hard:,}: a program that opens many files in the folder gets EMFILE",
            "raise the hard limit RLIMIT_NOFILE (nofile in /etc/security/limits.conf)",
        )
    return fine("open-files", f"the daemon may have {facts.nofile_hard:,} open")


def _core_dumps(facts: Facts) -> Finding:
    daemon = "the daemon makes none"
    others = "programs that crash may leave what they read from the folder"
    if facts.core_pattern.startswith("|"):
        program = facts.core_pattern[1:].split(" ")[0]
        found = f"{daemon}; {others} with {program}"
        return warning("core-dumps", found, "let it keep none (systemd: Storage=none in coredump.conf)")
    if facts.core_soft != 0 and facts.core_pattern:
        found = f"{daemon}; {others} in a file ({facts.core_pattern})"
        return warning("core-dumps", found, "`ulimit -c 0` in your profile")
    return fine("core-dumps", f"{daemon}, and other programs none")


def _ptrace(facts: Facts) -> Finding:
    daemon = "closed for the daemon (not dumpable)"
    if facts.ptrace_scope is None or facts.ptrace_scope > 0:
        scope = "" if facts.ptrace_scope is None else f"; Yama's scope is {facts.ptrace_scope}"
        return fine("ptrace", daemon + scope)
    return fine("ptrace", f"{daemon}; your programs can read each other's memory (Yama's scope is 0)")


def _facts() -> Facts:
    return Facts(
        memlock_bytes=None if _has_capability(_CAP_IPC_LOCK) else _limit(resource.RLIMIT_MEMLOCK, 0),
        nofile_hard=_limit(resource.RLIMIT_NOFILE, 1),
        core_soft=_limit(resource.RLIMIT_CORE, 0),
        core_pattern=_line("/proc/sys/kernel/core_pattern") or "",
        ptrace_scope=_number(_line("/proc/sys/kernel/yama/ptrace_scope")),
    )


def _limit(which: int, part: int) -> int | None:
    value = resource.getrlimit(which)[part]
    return None if value == resource.RLIM_INFINITY else value


def _has_capability(number: int) -> bool:
    """Whether a capability is effective (capabilities(7), proc_pid_status(5))."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _line(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None

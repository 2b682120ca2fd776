"""The directories for settings, state and sockets: private, or not made yet. Nothing is made here."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from phonevault.doctor.finding import Finding, fine, problem, warning
from phonevault.paths import config_dir, runtime_path, state_dir


@dataclass(frozen=True)
class Facts:
    """What was seen of a directory.

    Attributes:
        path: The directory.
        kind: "missing", "directory" or "other" (a symbolic link, too: the daemon follows none).
        ours: It is this user's.
        mode: Permission bits.
        parent_writable: If it is missing: it can be made.
        loose_files: Names of files in it that others can read or write.
    """

    path: str
    kind: str
    ours: bool = True
    mode: int = 0o700
    parent_writable: bool = True
    loose_files: tuple[str, ...] = ()


def look() -> list[Finding]:
    """Observe and judge the three directories."""
    places = {
        "config-directory": config_dir(),
        "state-directory": state_dir(),
        "runtime-directory": runtime_path(),
    }
    return [judge(check, observe(path)) for check, path in places.items()]


def judge(check: str, facts: Facts) -> Finding:
    """One finding."""
    path = facts.path
    if facts.kind == "missing":
        if facts.parent_writable:
            return fine(check, f"{path} will be made when it is needed")
        return problem(
            check, f"{path} is missing and cannot be made", "make it, or set the XDG variable for it"
        )
    if facts.kind == "other":
        return problem(check, f"{path} is no directory (a symbolic link counts as none)", "remove it")
    if not facts.ours:
        return problem(
            check, f"{path} belongs to another user", "set the XDG variable for it to a directory of yours"
        )
    if facts.mode & 0o022:
        return problem(check, f"others can write in {path} ({facts.mode:04o})", f"chmod 700 {path}")
    if facts.loose_files:
        names = ", ".join(facts.loose_files[:3])
        return problem(check, f"others can read {names} in {path}", f"chmod -R go= {path}")
    if facts.mode & 0o077:
        judged = warning if check == "state-directory" else problem  # the others are refused by the commands
        return judged(check, f"others can look into {path} ({facts.mode:04o})", f"chmod 700 {path}")
    return fine(check, f"{path} is private")


def observe(path: Path) -> Facts:
    """Look at a directory and the files in it."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return Facts(str(path), "missing", parent_writable=_can_be_made(path))
    except NotADirectoryError:
        return Facts(str(path), "missing", parent_writable=False)
    if not stat.S_ISDIR(status.st_mode):
        return Facts(str(path), "other")
    ours = status.st_uid == os.getuid()
    loose = _loose_files(path) if ours else ()
    return Facts(str(path), "directory", ours, stat.S_IMODE(status.st_mode), loose_files=loose)


def _loose_files(path: Path) -> tuple[str, ...]:
    """Files in a directory that others can read or write, by name."""
    with os.scandir(path) as entries:
        found = [
            entry.name
            for entry in entries
            if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mode & 0o077
        ]
    return tuple(sorted(found))


def _can_be_made(path: Path) -> bool:
    existing = next(parent for parent in path.parents if parent.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)

"""Runs the interpreter as an ordinary user (nobody) when the tests run as root.

The user may be unable to enter the checkout, the virtual environment or the interpreter's directory (all
below /root, say). What it cannot read is copied to its temporary home; for an interpreter that it cannot run,
the system's own of the same version serves.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info", "build"
)


@dataclass(frozen=True)
class OrdinaryUser:
    """A user without rights, with a home of its own and all that the tests need within its reach."""

    uid: int
    gid: int
    home: Path
    python: Path
    checkout: Path
    environment: Mapping[str, str]

    def run(self, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Runs the interpreter with `arguments` in the checkout, as this user; raises TimeoutExpired."""
        return subprocess.run(
            [str(self.python), *arguments],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd=self.checkout,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )


@contextmanager
def ordinary_user() -> Iterator[OrdinaryUser]:
    """Makes the home and what must be copied; removes it at the end. Only root can use it."""
    account = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="nobody-") as name:
        home = Path(name)
        os.chown(home, account.pw_uid, account.pw_gid)
        checkout = _within_reach(account, ROOT, home / "checkout")
        packages = _within_reach(account, Path(sysconfig.get_path("purelib")), home / "packages")
        python = _environment(_interpreter(account), home / "venv", checkout, packages)
        environment = {
            "HOME": name,
            "TMPDIR": name,
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": f"{name}/hypothesis",
            **{key: os.environ[key] for key in ("CI",) if key in os.environ},
        }
        yield OrdinaryUser(account.pw_uid, account.pw_gid, home, python, checkout, environment)


def _succeeds(account: pwd.struct_passwd, *argv: str) -> bool:
    try:
        process = subprocess.run(
            argv, user=account.pw_uid, group=account.pw_gid, extra_groups=[], cwd="/", capture_output=True
        )
    except PermissionError:
        return False
    return process.returncode == 0


def _interpreter(account: pwd.struct_passwd) -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (Path(sys.executable).resolve(), Path(f"/usr/bin/python{version}")):
        if _succeeds(account, str(candidate), "-c", ""):
            return candidate
    pytest.skip(f"missing: a Python {version} that ordinary users can run")


def _environment(interpreter: Path, venv: Path, *paths: Path) -> Path:
    """A virtual environment with these paths, so that child processes find the packages however they are started."""
    subprocess.run([str(interpreter), "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "paths.pth").write_text("".join(f"{path}\n" for path in paths))
    return venv / "bin" / "python"


def _within_reach(account: pwd.struct_passwd, directory: Path, copy: Path) -> Path:
    if _succeeds(account, "/bin/ls", str(directory)):
        return directory
    shutil.copytree(directory, copy, symlinks=True, ignore=NOT_COPIED)
    return copy

"""A fresh vault, mounted by the real commands as root with all that root may have."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from demo_steps.programs import resolve


def backing_kind(directory: Path) -> str:
    """Type of the file system a directory lies on."""
    found = subprocess.run(
        ["stat", "-f", "-c", "%T", str(directory)], check=True, capture_output=True, text=True
    ).stdout.strip()
    return "ext4" if found == "ext2/ext3" else found


@contextlib.contextmanager
def mounted(directory: Path, cipher: str) -> Iterator[Path]:
    """The mount point; vault, mount point and state lie in a new directory, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="phonevault-conformance-", dir=directory) as name:
        home = Path(name)
        home.chmod(0o755)
        code, vault, mountpoint = home / "code", home / "vault", home / "mnt"
        mountpoint.mkdir()
        _run(
            home,
            "create",
            str(vault),
            "--no-phone",
            "--single-slot",
            "--recovery-file",
            str(code),
            "--cipher",
            cipher,
        )
        everything = ("--allow-other", "--suid", "--dev")
        _run(home, "mount", str(vault), str(mountpoint), "--recovery-file", str(code), *everything)
        try:
            yield mountpoint
        finally:
            _run(home, "unmount", str(mountpoint))


def _run(home: Path, *words: str) -> None:
    state = home / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    places = ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
    environment = {**os.environ, **dict.fromkeys(places, str(state))}
    done = subprocess.run(
        resolve(["phonevault", *words]), env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"error: phonevault {words[0]}: {(done.stderr or done.stdout).strip()}")

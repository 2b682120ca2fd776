"""What the quick commands do not load: their time is the interpreter's start, click, and little else."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.computer import Computer

PROGRAM = """
import json, sys
from phonevault.cli.main import run
code = run(sys.argv[1:])
print("MODULES", json.dumps(sorted(sys.modules)))
sys.exit(code)
"""
HEAVY = (
    "cryptography",
    "rich",
    "noise",
    "serial",
    "dbus_fast",
    "bumble",
    "asyncio",
    "statistics",
    "tempfile",
    "subprocess",
    "hashlib",
    "segno",
    "zxcvbn",
)
OURS = (
    "keyslots",
    "phone_link",
    "phonevault.fs",
    "phonevault.fuse",
    "phonevault.vault",
    "phonevault.doctor",
    "phonevault.speed",
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["status"],
        ["status", "--json"],
        ["doctor", "--help"],
        ["speed", "--help"],
        ["lock", "--all"],
    ],
)
def test_quick_commands_load_nothing_heavy(fresh: Computer, arguments: list[str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=fresh.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    loaded = json.loads(result.stdout.rpartition("MODULES ")[2])
    assert [name for name in loaded if name.startswith(HEAVY + OURS)] == []

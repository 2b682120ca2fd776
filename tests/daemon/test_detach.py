"""Becoming a daemon: in a process of its own, because it forks."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from phonevault.daemon.detach import fork_and_wait
from phonevault.daemon.harden import forbid_dumps
from phonevault.daemon.log import open_log
from pathlib import Path

def serve(ready):
    {body}

code = fork_and_wait(serve, lambda: open_log(Path(sys.argv[1])))
if code is None:
    sys.exit(0)
print("the parent says", code)
sys.exit(code)
"""


def run(body: str, log: Path) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(body=body)
    return subprocess.run(
        [sys.executable, "-c", program, str(log)], capture_output=True, text=True, timeout=30, check=False
    )


def test_ready_ends_the_parent_and_detaches_the_child(tmp_path: Path) -> None:
    log = tmp_path / "log" / "x.log"
    body = (
        "print('before', flush=True); ready(); "
        "print('session', os.getsid(0) == os.getpid(), os.getcwd(), sys.stdin.read() == '', flush=True)"
    )
    result = run(body, log)  # returns only when nobody holds its output any more
    assert result.stdout.splitlines() == ["before", "the parent says 0"]
    assert result.returncode == 0
    assert "session True / True" in wait_for_text(log)


def wait_for_text(path: Path) -> str:
    for _ in range(1000):
        if text := path.read_text():
            return text
        time.sleep(0.01)
    return ""


@pytest.mark.parametrize(
    ("body", "code"), [("sys.exit(42)", 42), ("os.kill(os.getpid(), 9)", 137), ("pass", 1)]
)
def test_a_child_that_ends_before_it_is_ready_gives_its_status(tmp_path: Path, body: str, code: int) -> None:
    result = run(body, tmp_path / "log" / "x.log")
    assert result.stdout.splitlines()[-1:] == [f"the parent says {code}"]
    assert result.returncode == code


def test_no_dumps(tmp_path: Path) -> None:
    body = (
        "forbid_dumps(); import resource, ctypes; "
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)"
    )
    assert "(0, 0) 0" in run(body, tmp_path / "log" / "x.log").stdout

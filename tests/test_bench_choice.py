"""Which workloads scripts/bench runs, what a daemon costs, and what the counter counts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benchmark import daemons, throughput, workloads


def names(*words: str) -> list[str]:
    return [workload.name for workload in workloads.chosen(throughput.ALL, words)]


def test_without_words_all_run_in_their_order() -> None:
    assert names() == [workload.name for workload in throughput.ALL]


def test_what_a_workload_works_on_is_made_before_it() -> None:
    assert names("warm") == ["untar", "find -size, cold", "find -size, warm"]
    assert names("SQLite") == ["SQLite, one-row transactions"]
    for number, workload in enumerate(throughput.ALL):
        assert not workload.needs or workload.needs in [w.name for w in throughput.ALL[:number]]


def test_a_word_that_names_nothing_is_refused() -> None:
    with pytest.raises(SystemExit, match="no workload"):
        names("nonsense")


def test_a_daemon_is_found_by_its_mount_point_and_measured(tmp_path: Path) -> None:
    program = (
        "import sys, time\nwhile time.process_time() < 0.2: pass\nprint('done', flush=True)\nsys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "done\n"
    found = daemons.serving(tmp_path)
    assert found == [process.pid]
    assert daemons.processor_s(found) >= 0.2
    assert daemons.peak_mib(found) > 1
    process.communicate("")
    daemons.wait_for_end(found)
    assert daemons.serving(tmp_path) == []


def test_this_process_is_measured_like_its_own_clock_does() -> None:
    before = time.process_time()
    measured = daemons.processor_s([os.getpid()])
    assert before <= measured <= time.process_time()

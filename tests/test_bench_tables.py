"""What scripts/bench makes of its values: ratios, tables, curves, the page; and its limits of time."""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmark import (
    big_tree,
    cells,
    clients,
    curves,
    daemons,
    page,
    ratios,
    results,
    roundtrip,
    scaling,
    sizes,
)
from benchmark.cells import Limits, Part
from benchmark.comparison import in_turn
from benchmark.grid import Grid, number
from benchmark.paced_line import arrival_s, carry
from benchmark.systems import Plain, System
from benchmark.workloads import timed

RATES = {
    "write": {"phonevault": [100.0, 300.0, 200.0], "gocryptfs": [100.0, 100.0, 400.0], "encfs": [50.0] * 3, "plain": [9e9] * 3},
    "read": {"phonevault": [50.0] * 3, "gocryptfs": [100.0] * 3, "encfs": [400.0] * 3, "plain": [9e9] * 3},
}  # fmt: skip


def test_ratios_are_of_medians_and_the_plain_directory_is_no_peer() -> None:
    write, read = (ratios.compare(RATES[name], "phonevault") for name in ("write", "read"))
    assert (write.to_reference, write.to_best, write.best) == (2.0, 2.0, "gocryptfs")
    assert (write.lowest, write.highest) == (0.5, 3.0)
    assert (read.to_reference, read.to_best, read.best) == (0.5, 0.125, "encfs")
    means = ratios.geometric_means(RATES, "phonevault")
    assert means == {"gocryptfs": pytest.approx(1.0), "best peer": pytest.approx(0.5)}


def test_without_peers_there_are_no_ratios() -> None:
    alone = {"write": {"phonevault": [1.0], "plain": [2.0]}}
    assert ratios.geometric_means(alone, "phonevault") == {"gocryptfs": None, "best peer": None}
    assert ratios.compare(alone["write"], "phonevault").best == ""
    assert "–" in results.table(alone, {"write": "MB/s"}).rows[0]


def test_the_table_ends_with_the_geometric_mean() -> None:
    table = results.table(RATES, {"write": "MB/s", "read": "MB/s"})
    assert table.header[-2:] == ["phonevault ÷ gocryptfs", "phonevault ÷ best peer"]
    assert table.rows[0] == ["write", "MB/s", "200", "100", "50", "9,000,000,000", "2.00", "2.00 (gocryptfs)"]
    assert table.rows[-2][-2:] == ["1.00", "0.50"]
    assert table.rows[-1][-2:] == ["–", "–"]
    three = RATES | {"append": {"phonevault": [9e6] * 3, "gocryptfs": [1.0] * 3, "plain": [1.0] * 3}}
    assert ratios.geometric_means(three, "phonevault", trimmed=True)["gocryptfs"] == pytest.approx(2.0)
    assert results.range_table(RATES).rows[0][1] == "100 to 300"


def test_numbers_and_markdown() -> None:
    assert [number(value) for value in (None, float("nan"), 0.0, 0.1234, 12345.6)] == [
        "–",
        "–",
        "0",
        "0.123",
        "12,346",
    ]
    grid = Grid(["a", "b"], rows=[["x", "1"]])
    assert grid.markdown() == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_an_order_is_the_same_in_every_run_and_not_in_every_round(tmp_path: Path) -> None:
    systems = [Plain(tmp_path / name) for name in "abcdef"]
    orders = [in_turn(systems, f"{turn} write") for turn in range(8)]
    assert in_turn(systems, "3 write") == orders[3]
    assert len({order[0] for order in orders}) > 2
    assert all(set(order) == set(systems) for order in orders)


LIMITS = Limits(rounds=3, cell_s=1, once_s=0.9, part_s=60)


def sleeping(pauses_s: dict[int, float]) -> Part:
    def measure(system: System, size: int) -> Iterator[tuple[str, float]]:
        yield "quick", 1.0
        yield "slow", size / timed(system, lambda: time.sleep(pauses_s[size]))

    return Part("sleep", "sizes", list(pauses_s), {"quick": "op/s", "slow": "op/s"}, measure)


def test_what_takes_too_long_is_broken_off_named_and_not_tried_at_larger_sizes(tmp_path: Path) -> None:
    found = cells.measure(sleeping({1: 0.0, 10: 30.0, 100: 0.0}), [Plain], tmp_path, LIMITS)
    assert found.rounds == 3
    assert [len(each) for each in found.values["quick"]["plain"]] == [3, 1, 0]
    assert [len(each) for each in found.values["slow"]["plain"]] == [3, 0, 0]
    assert found.left_out["slow"]["plain"] == ["", "> 1 s", "> 1 s"]
    assert found.left_out["quick"]["plain"] == ["", "", "> 1 s"]
    table = scaling.table("sleep", json.loads(json.dumps(found.as_json())))
    assert table.rows[-1] == ["slow", "op/s", "100", "> 1 s"]
    assert not (tmp_path / "sleep" / "plain").exists()


def test_what_is_foreseen_to_take_too_long_is_not_tried(tmp_path: Path) -> None:
    limits = Limits(rounds=1, cell_s=5, once_s=5, part_s=60)
    found = cells.measure(sleeping({1: 1.1, 100: 0.0}), [Plain], tmp_path, limits)
    assert found.left_out["slow"]["plain"] == ["", "(> 5 s)"]


def test_what_took_long_is_measured_once_and_no_round_begins_too_late(tmp_path: Path) -> None:
    part = sleeping({1: 0.0, 2: 1.0})
    limits = Limits(rounds=3, cell_s=60, once_s=0.9, part_s=60)
    found = cells.measure(part, [Plain], tmp_path, limits)
    assert [len(each) for each in found.values["slow"]["plain"]] == [3, 1]
    assert cells.measure(part, [Plain], tmp_path, Limits(9, 60, 60, part_s=0)).rounds == 1


def test_what_does_not_fit_is_left_out(tmp_path: Path) -> None:
    part = Part(
        "files", "bytes", [1 << 60], {"write": "MB/s"}, sleeping({}).measure, space_bytes=lambda size: size
    )
    found = cells.measure(part, [Plain], tmp_path, LIMITS)
    assert found.left_out["write"]["plain"] == ["no room"]


def test_the_alarm_is_put_back() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(cells.OutOfTime), cells.bounded(0.05) as wind:
        signal.setitimer(signal.ITIMER_REAL, 60)
        wind()
        assert signal.getitimer(signal.ITIMER_REAL)[0] <= 0.05
        time.sleep(60)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("part", [sizes.directories(100), sizes.files(300 << 10), sizes.concurrent()])
def test_each_part_measures_all_it_names_and_leaves_nothing(part: Part, tmp_path: Path) -> None:
    system = Plain(tmp_path)
    part.prepare(system)
    kept = sorted(os.listdir(system.mountpoint))
    for size in part.sizes:
        rates = dict(part.measure(system, size))
        assert list(rates) == list(part.units)
        assert all(rate > 0 for rate in rates.values())
        assert sorted(os.listdir(system.mountpoint)) == kept


def test_sizes_end_with_what_was_asked_for() -> None:
    assert list(sizes.files(300 << 10).sizes) == [1 << 10, 1 << 14, 1 << 18, 300 << 10]
    assert sizes.files(1 << 40).sizes[-1] == 4 << 30
    assert list(sizes.directories(1000).sizes) == [10, 100, 1000]
    assert [scaling.size_of(text) for text in ("1GiB", "64MiB", "4096")] == [1 << 30, 64 << 20, 4096]
    assert [scaling.shown(size, "bytes") for size in (1 << 10, 1 << 26, 4 << 30, 5)] == [
        "1 KiB",
        "64 MiB",
        "4 GiB",
        "5",
    ]
    assert scaling.shown(10_000, "entries") == "10,000"


def test_clients_start_together_and_a_failure_is_told(tmp_path: Path) -> None:
    def work(client: int) -> None:
        (tmp_path / str(client)).touch()

    go = clients.at_once(3, work)
    time.sleep(0.1)
    assert not os.listdir(tmp_path)
    go()
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2"]
    with pytest.raises(SystemExit, match="client"):
        clients.at_once(2, lambda client: (tmp_path / "missing" / str(client)).touch())()


def test_a_tree_is_built_walked_and_told_of(tmp_path: Path) -> None:
    found = big_tree.measure([Plain], tmp_path, 250, LIMITS)
    assert found["entries"] == 253
    assert found["rounds"] == 3
    rows = {row[0]: row[2] for row in big_tree.table(found).rows}
    assert rows["command `mount`"] == rows["memory for each entry"] == "–"
    assert float(rows["find -size over all, cold"].replace(",", "")) > 0
    late = big_tree.measure([Plain], tmp_path / "late", 10**9, Limits(1, 1, 1, part_s=0.1))
    assert big_tree.table(late).rows[0][2].startswith("not built in")


def test_points_are_medians_where_something_was_measured() -> None:
    assert curves.points([1, 10, 100], [[3.0, 1.0, 2.0], [], [5.0]]) == ([1, 100], [2.0, 5.0])


def test_memory_and_sleeps_of_this_process_are_read() -> None:
    before = daemons.switches([os.getpid()])
    time.sleep(0.01)
    assert daemons.switches([os.getpid()]) > before
    memory = daemons.memory([os.getpid()])
    assert 0 < memory.pss <= memory.rss <= memory.peak


def test_a_line_is_busy_while_it_sends() -> None:
    assert arrival_s(0, 5, 96, 9600) == pytest.approx(5.1)
    assert arrival_s(6, 5, 96, 9600) == pytest.approx(6.1)


def test_the_cable_carries_at_its_rate() -> None:
    source, near = os.pipe()
    far, sink = os.pipe()
    one_way = threading.Thread(target=carry, args=(source, sink, 9600))
    one_way.start()
    began_s = time.monotonic()
    os.write(near, bytes(range(96)))
    os.close(near)
    one_way.join()
    assert time.monotonic() - began_s >= 0.1
    assert os.read(far, 100) == bytes(range(96))
    for end in (source, far, sink):
        os.close(end)
    assert roundtrip.line_ms() == pytest.approx(94 * 10 / 115.2)


THROUGHPUT = {
    "subject": "throughput", "date": "2026-11-24",
    "machine": {"cpu": "abacus", "cores": 2, "kernel": "6", "python": "3", "load": "7.5"},
    "plan": {"rounds": 3, "stream_mib": 8, "entries": 10},
    "units": {"write": "MB/s", "read": "MB/s"}, "rounds": RATES, "processor_s": RATES, "switches": RATES,
    "ratios": ratios.as_json(RATES), "memory_mib": {"phonevault": {"rss": 40.0, "pss": 30.0, "peak": 50.0}},
}  # fmt: skip


def test_the_page_gets_the_tables_between_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "DOCS", tmp_path)
    monkeypatch.setattr(page, "_draw", lambda found: None)
    (tmp_path / page.PAGE).write_text(
        "before\n<!-- bench: throughput -->\nold\n<!-- end of bench: throughput -->\nafter\n"
    )
    (tmp_path / "run.json").write_text(json.dumps(THROUGHPUT))
    for _ in range(2):
        page.run(argparse.Namespace(file=[tmp_path / "run.json"]))
    text = (tmp_path / page.PAGE).read_text()
    assert "old" not in text
    assert text.startswith("before\n<!--") and text.endswith("-->\nafter\n")
    assert "| geometric mean |" in text
    assert "load 7.5: the machine did other work" in text
    assert "phonevault 1.00 × gocryptfs and 0.50 × the best peer" in text
    with pytest.raises(SystemExit, match="marks"):
        page.replaced("nothing here", "throughput", "")


def test_the_page_in_the_checkout_has_all_marks() -> None:
    text = (page.DOCS / page.PAGE).read_text()
    for name in ("throughput", "roundtrip", *(f"scaling {part}" for part in scaling.PARTS)):
        assert "new" in page.replaced(text, name, "new")


def test_workloads_do_not_mount_anew_where_one_daemon_does_all(tmp_path: Path) -> None:
    class Counted(Plain):
        mounts = 0

        def mount(self) -> None:
            self.mounts += 1

    system = Counted(tmp_path)
    system.remount()
    system.stays = True
    system.remount()
    assert system.mounts == 1

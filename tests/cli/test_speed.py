"""`phonevault speed`: numbers, a folder beside the vault that leaves nothing, and places where it cannot be done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.computer import Computer, snapshot, wait_until
from support.needs import need_fuse, need_ordinary_user, need_program

from phonevault.errors import NotMeasurable
from phonevault.speed import ciphers, workloads
from phonevault.speed.advice import advise, has_hardware
from phonevault.speed.ciphers import GCM, XTS, CipherRate, CipherSpeed
from phonevault.speed.folder import FolderRate, FolderSpeed
from phonevault.speed.trial import PREFIX, stream_bytes
from phonevault.vault import RecoverySlotRequest, create


def trials(directory: Path) -> list[str]:
    mounts = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line
    ]
    return mounts + [name for name in os.listdir(directory) if name.startswith(PREFIX)]


@pytest.fixture(params=[GCM, XTS])
def vault(fresh: Computer, request: pytest.FixtureRequest) -> Path:
    create(fresh.vault, cipher=request.param, slots=[RecoverySlotRequest()]).wipe()
    return fresh.vault


@pytest.mark.mount
def test_a_folder_is_measured_beside_the_vault_and_nothing_is_left(fresh: Computer, vault: Path) -> None:
    need_fuse()
    before = snapshot(vault)
    result = fresh.run("speed", vault, "--json")
    report = json.loads(result.stdout)
    assert result.stderr == ""
    assert [rate["name"] for rate in report["folder"]["rates"]] == [one.name for one in workloads.ALL]
    assert all(rate["folder"] > 0 and rate["plain"] > 0 for rate in report["folder"]["rates"])
    assert report["folder"]["cipher"] in (GCM, XTS)
    assert len(report["ciphers"]["rates"]) == 8
    assert all(report["advice"])
    assert snapshot(vault) == before
    assert not trials(fresh.root)


@pytest.mark.mount
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_in_the_middle_it_leaves_nothing(fresh: Computer, number: signal.Signals) -> None:
    need_fuse()
    create(fresh.vault, cipher=GCM, slots=[RecoverySlotRequest()]).wipe()
    running = fresh.start("speed", fresh.vault)
    wait_until(lambda: any("fuse.phonevault" in line for line in trials(fresh.root)))
    running.send_signal(number)
    running.communicate()
    wait_until(lambda: not trials(fresh.root))


def test_ciphers_alone(fresh: Computer) -> None:
    lines = fresh.run("speed").stdout.splitlines()
    assert lines[0].startswith("aes-256-gcm\t4 KiB\t1\t")
    assert lines[-1].startswith("Take aes-256-gcm") or "passphrase" in lines[-1]


def test_what_is_no_vault(fresh: Computer) -> None:
    fresh.run("speed", fresh.root, code=10)
    assert not trials(fresh.root)


@pytest.mark.mount
def test_a_place_where_nothing_can_be_made(fresh: Computer) -> None:
    need_fuse()
    need_ordinary_user()
    create(fresh.vault, cipher=GCM, slots=[RecoverySlotRequest()]).wipe()
    fresh.root.chmod(0o500)
    try:
        fresh.run("speed", fresh.vault, code=61)
    finally:
        fresh.root.chmod(0o700)


def test_a_trial_that_cannot_be_mounted_is_taken_away(fresh: Computer) -> None:
    """fusermount3 that refuses: a script of that name in PATH."""
    create(fresh.vault, cipher=GCM, slots=[RecoverySlotRequest()]).wipe()
    refusing = fresh.root / "bin" / "fusermount3"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\necho fusermount3: no >&2\nexit 1\n")
    refusing.chmod(0o755)
    environment = {**fresh.environment, "PATH": f"{refusing.parent}:{os.environ['PATH']}"}
    if Path("/dev/fuse").exists():
        assert "mounting failed: no" in fresh.run("speed", fresh.vault, code=61, env=environment).stderr
    assert not trials(fresh.root)


@pytest.mark.mount
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_between_the_mount_and_its_service_it_leaves_nothing(
    fresh: Computer, number: signal.Signals
) -> None:
    """A script in the place of fusermount3 mounts, and ends the process that measures before anything is served."""
    need_fuse()
    create(fresh.vault, cipher=GCM, slots=[RecoverySlotRequest()]).wipe()
    script = fresh.root / "bin" / "fusermount3"
    script.parent.mkdir()
    own, pid_file = need_program("fusermount3"), fresh.root / "pid"
    killing = f"kill -{int(number)} $(cat {pid_file}); sleep 0.5"
    script.write_text(f'#!/bin/sh\n{own} "$@" || exit\ncase "$1" in -o) {killing};; esac\n')
    script.chmod(0o755)
    start = (
        f"echo $$ > {pid_file}; exec {' '.join(fresh.command('phonevault.cli.main', 'speed', fresh.vault))}"
    )
    environment = {**fresh.environment, "PATH": f"{script.parent}:{os.environ['PATH']}"}
    running = subprocess.run(["sh", "-c", start], env=environment, capture_output=True, check=False)
    assert running.returncode == (-number if number == signal.SIGKILL else 128 + signal.SIGINT)
    wait_until(lambda: not trials(fresh.root))


@pytest.mark.parametrize(("free_mib", "large_mib"), [(32, 4), (100, 12), (512, 64), (10**6, 64)])
def test_room_is_asked_for(free_mib: int, large_mib: int) -> None:
    assert stream_bytes(free_mib << 20) == large_mib << 20


def test_too_little_room() -> None:
    with pytest.raises(NotMeasurable, match="31 MiB are free there, 32 are needed"):
        stream_bytes(31 << 20)


def test_rates_count_what_was_called() -> None:
    calls = [0]

    def call() -> None:
        calls[0] += 1

    rate = ciphers.calls_per_s(lambda: call, 1, 0.02)
    assert calls[0] > 16
    assert 0 < rate <= calls[0] / 0.02


def speeds(gcm_small: float, gcm_large: float, xts: float, passphrase_s: float | None = 0.4) -> CipherSpeed:
    rates = (
        CipherRate(GCM, 4096, 1, gcm_small),
        CipherRate(GCM, 65536, 1, gcm_large),
        CipherRate(XTS, 65536, 1, xts),
    )
    return CipherSpeed(rates, 1e5, passphrase_s)


def folder(write: tuple[float, float], read: tuple[float, float]) -> FolderSpeed:
    rates = (
        FolderRate("sequential write + fsync", "MB/s", *write),
        FolderRate("sequential read, cold", "MB/s", *read),
    )
    return FolderSpeed(Path("/v"), GCM, 4096, 1 << 26, rates)


@pytest.mark.parametrize(
    ("of_ciphers", "of_folder", "words"),
    [
        (speeds(2000, 7000, 4000), None, ["AES runs in hardware", "unless nobody else can write"]),
        (speeds(60, 70, 50), None, ["without the processor's instructions", "Take aes-256-gcm: "]),
        (speeds(2000, 7000, 2100, 3.0), None, ["Take aes-256-gcm: ", "takes 3.0 s"]),
        (speeds(2000, 7000, 2100, None), None, ["not enough free memory"]),
        (speeds(2000, 7000, 2100), folder((90, 100), (95, 100)), ["storage is the limit"]),
        (speeds(2000, 7000, 2100), folder((400, 1000), (500, 1000)), ["written at 0.40 and read at 0.50"]),
        (speeds(2000, 7000, 2100), folder((20, 1000), (30, 1000)), ["slow besides the storage"]),
    ],
)
def test_advice(of_ciphers: CipherSpeed, of_folder: FolderSpeed | None, words: list[str]) -> None:
    text = "\n".join(advise(of_ciphers, of_folder))
    for word in words:
        assert word in text


def test_no_hardware_is_told_by_the_rate() -> None:
    assert has_hardware(speeds(900, 1000, 900))
    assert not has_hardware(speeds(60, 80, 60))

"""What goes wrong says so: one line, a hint, an exit code of its own, and nothing changed on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from support.computer import Computer, snapshot
from support.needs import need_fuse, need_ordinary_user, need_program

from phonevault.cli.main import run
from phonevault.fuse import mount as fuse_mount

pytestmark = pytest.mark.mount


@pytest.fixture(autouse=True)
def fuse() -> None:
    need_fuse()


def refused_mount(computer: Computer, code: int, *options: object, place: Path | None = None) -> str:
    """Tries to mount, expects an exit code, and that nothing on disk changed; returns what was said."""
    before = snapshot(computer.vault)
    result = computer.run("mount", computer.vault, place or computer.place, *options, code=code)
    assert snapshot(computer.vault) == before
    assert not os.path.ismount(place or computer.place)
    return result.stderr


def change_header(path: Path, **changes: object) -> None:
    """Changes a copy of the header as somebody without the key can: the checksum is made right again."""
    envelope = json.loads(path.read_bytes())
    envelope["header"] |= changes
    inner = {"header": envelope["header"], "mac": envelope["mac"]}
    text = json.dumps(inner, sort_keys=True, separators=(",", ":"))
    envelope["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(envelope, sort_keys=True, separators=(",", ":")) + "\n")


def recovery(computer: Computer) -> tuple[object, ...]:
    return ("--recovery-file", computer.code_file)


# -- the vault --------------------------------------------------------------------------------------------


def test_not_a_vault(computer: Computer) -> None:
    shutil.rmtree(computer.vault)
    computer.vault.mkdir()
    refused_mount(computer, 10)
    computer.run("info", computer.root / "missing", code=10)


def test_one_damaged_copy_is_said_and_the_other_used(computer: Computer) -> None:
    main = computer.vault / "phonevault.json"
    main.write_bytes(main.read_bytes().replace(b"a", b"b", 3))
    result = computer.run("mount", computer.vault, computer.place, *recovery(computer))
    assert "warning:" in result.stderr
    computer.run("unmount", computer.place)
    assert "warning:" in computer.run("info", computer.vault).stderr


def test_both_copies_damaged(computer: Computer) -> None:
    for name in ("phonevault.json", "phonevault.json.bak"):
        (computer.vault / name).write_bytes(b"{}\n")
    assert "damaged" in refused_mount(computer, 11, *recovery(computer))


def test_a_tampered_header_is_not_called_a_wrong_code(computer: Computer) -> None:
    for name in ("phonevault.json", "phonevault.json.bak"):
        change_header(computer.vault / name, created="2001-01-01T00:00:00Z")
    assert "tamper" in refused_mount(computer, 12, *recovery(computer))


def test_a_header_of_a_newer_version(computer: Computer) -> None:
    for name in ("phonevault.json", "phonevault.json.bak"):
        change_header(computer.vault / name, version=2)
    refused_mount(computer, 13, *recovery(computer))


def test_the_root_directory_of_another_vault(computer: Computer) -> None:
    other = computer.root / "other"
    computer.start_phone()
    computer.run("create", other, "--recovery-file", computer.root / "other code")
    shutil.copy(other / "tree" / "phonevault.dirid", computer.vault / "tree")
    refused_mount(computer, 12, *recovery(computer))


def test_a_wrong_recovery_code_and_one_with_a_typing_error(computer: Computer) -> None:
    computer.start_phone()
    computer.run("create", computer.root / "other", "--recovery-file", computer.root / "other code")
    refused_mount(computer, 14, "--recovery-file", computer.root / "other code")
    code = computer.code_file.read_text()
    computer.code_file.chmod(0o600)
    computer.code_file.write_text(("0" if code[0] != "0" else "1") + code[1:])
    refused_mount(computer, 5, *recovery(computer))


# -- the mount point --------------------------------------------------------------------------------------


def test_the_mount_point_must_be_an_empty_directory_outside_the_vault(computer: Computer) -> None:
    refused_mount(computer, 20, place=computer.root / "missing")
    refused_mount(computer, 20, place=computer.code_file)
    full = computer.root / "full"
    full.mkdir()
    (full / "file").touch()
    refused_mount(computer, 20, place=full)
    assert (full / "file").exists()
    refused_mount(computer, 20, place=computer.vault / "tree")
    refused_mount(computer, 20, place=computer.root)


def test_a_mount_point_of_somebody_else(computer: Computer) -> None:
    need_ordinary_user()
    refused_mount(computer, 20, *recovery(computer), place=Path("/root"))


def test_fusermount_missing(computer: Computer) -> None:
    fuser = Path(need_program("fusermount3"))
    assert fuser.exists()
    stderr = computer.run(
        "mount", computer.vault, computer.place, code=24, env={**computer.environment, "PATH": "/nonexistent"}
    ).stderr
    assert "fuse3" in stderr  # what to install


def test_no_fuse_device(
    computer: Computer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuse_mount, "_DEVICE", computer.root / "no fuse")
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, computer.environment[name])
    assert run(["mount", str(computer.vault), str(computer.place)]) == 23
    assert capsys.readouterr().err.startswith("error: ")


# -- the phone --------------------------------------------------------------------------------------------


def test_no_phone_is_paired(fresh: Computer) -> None:
    fresh.run("create", fresh.vault, "--recovery-file", fresh.code_file, code=47)
    assert not fresh.vault.exists()
    assert not fresh.code_file.exists()


def test_an_unknown_phone(computer: Computer) -> None:
    refused_mount(computer, 47, "--phone", "brick")
    computer.run("phone", "ping", "brick", code=47)
    computer.run("phone", "forget", "brick", code=47)


def test_an_absent_phone_is_said_within_six_seconds(computer: Computer) -> None:
    began = time.monotonic()
    refused_mount(computer, 41)
    assert time.monotonic() - began < 6
    computer.run("phone", "ping", code=41)


def test_a_phone_that_does_not_answer_is_said_too(computer: Computer) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(computer.spec.removeprefix("unix:"))
        silent.listen()
        refused_mount(computer, 42)


def test_a_phone_that_refuses(computer: Computer) -> None:
    computer.start_phone("--approve", "ask")  # and has no terminal to ask on
    refused_mount(computer, 54)


def test_a_phone_that_has_forgotten_this_computer(computer: Computer) -> None:
    computer.start_phone()
    status = computer.run_phone("status", computer.store).stdout
    name = os.uname().nodename
    assert name in status
    computer.run_phone("forget", computer.store, name)
    refused_mount(computer, 46)


def test_a_phone_that_accepts_no_pairing(computer: Computer) -> None:
    computer.start_phone()  # without --accept-pairing and without a terminal
    computer.run("phone", "pair", computer.spec, "--name", "second", "--yes", code=48)
    assert "second" not in computer.run("phone", "list").stdout


def test_digits_cannot_be_compared_without_a_terminal(computer: Computer) -> None:
    computer.start_phone("--approve", "auto", "--accept-pairing")
    computer.run("phone", "pair", computer.spec, "--name", "second", code=5)
    assert "second" not in computer.run("phone", "list").stdout


@pytest.mark.parametrize("spec", ["pigeon:coop", "unix:", "tcp:nowhere", "bumble"])
def test_a_malformed_spec(fresh: Computer, spec: str) -> None:
    fresh.run("phone", "pair", spec, code=43)


def test_a_phone_whose_key_opens_another_vault_only(computer: Computer) -> None:
    (computer.root / "stranger").mkdir()
    stranger = Computer(computer.root / "stranger")
    try:
        stranger.make_phone()
        stranger.start_phone("--approve", "auto", "--accept-pairing")
        computer.run("phone", "pair", stranger.spec, "--name", "stranger", "--yes")
        refused_mount(computer, 14, "--phone", "stranger")
    finally:
        stranger.close()


# -- create -----------------------------------------------------------------------------------------------


def test_create_refuses_what_is_there(computer: Computer) -> None:
    computer.start_phone()
    full = computer.root / "full"
    full.mkdir()
    (full / "file").write_text("mine")
    new_code = computer.root / "new code"
    computer.run("create", full, "--recovery-file", new_code, code=15)
    computer.run("create", computer.root / "no" / "parent", "--recovery-file", new_code, code=15)
    computer.run("create", computer.root / "new", "--recovery-file", computer.code_file, code=6)
    assert snapshot(full) == {"file": b"mine"}
    assert not (computer.root / "new").exists()
    assert not new_code.exists()


def test_create_shows_the_code_on_a_terminal_only(computer: Computer) -> None:
    computer.start_phone()
    computer.run("create", computer.root / "new", code=5)
    assert not (computer.root / "new").exists()


def test_create_leaves_nothing_if_the_phone_refuses_to_open_what_was_made(computer: Computer) -> None:
    computer.start_phone("--approve", "ask")
    new_code = computer.root / "new code"
    computer.run("create", computer.root / "new", "--recovery-file", new_code, code=54)
    assert not (computer.root / "new").exists()
    assert not new_code.exists()


def test_create_writes_the_code_into_a_private_file(computer: Computer) -> None:
    assert computer.code_file.stat().st_mode & 0o777 == 0o600
    assert len(computer.code_file.read_text().strip()) == 44


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 2000])
def test_an_unusable_passphrase_file(fresh: Computer, content: bytes) -> None:
    (fresh.root / "p").write_bytes(content)
    arguments = ("create", fresh.vault, "--no-phone", "--passphrase-file", fresh.root / "p")
    fresh.run(*arguments, "--recovery-file", fresh.code_file, code=5)
    fresh.run(
        "create", fresh.vault, "--passphrase-file", fresh.root / "missing", "--recovery-file", "x", code=5
    )
    assert not fresh.vault.exists()


# -- usage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("mount", "a"),
        ("mount", "a", "b", "--grace", "-1"),
        ("mount", "a", "b", "--grace", "nan"),
        ("mount", "a", "b", "--phone", "x", "--recovery-file", "y"),
        ("create", "a", "--cipher", "rot13"),
        ("create", "a", "--phone", "x", "--no-phone"),
        ("lock", "a", "--all"),
        ("unlock", "a", "--passphrase-file", "x", "--recovery-file", "y"),
    ],
)
def test_malformed_arguments(fresh: Computer, arguments: tuple[str, ...]) -> None:
    fresh.run(*arguments, code=2)


def test_what_is_not_mounted(fresh: Computer) -> None:
    for command in ("lock", "unlock", "unmount"):
        fresh.run(command, fresh.place, code=26)
    fresh.run("lock", code=26)
    fresh.run("unmount", fresh.root / "missing", code=26)


def test_a_runtime_directory_open_to_others(fresh: Computer) -> None:
    directory = fresh.root / "home" / "run" / "phonevault"
    directory.mkdir(parents=True)
    directory.chmod(0o755)
    fresh.run("status", code=7)


def test_help_and_version_read_no_settings(fresh: Computer) -> None:
    environment = {**fresh.environment, "XDG_RUNTIME_DIR": "/proc/nothing"}
    assert fresh.run("--version", env=environment).stdout.startswith("phonevault ")
    listed = fresh.run("--help", env=environment).stdout
    for command in ("create", "info", "lock", "mount", "phone", "status", "unlock", "unmount"):
        assert f"\n  {command} " in listed
        assert "Usage:" in fresh.run(command, "--help", env=environment).stdout


def test_a_reader_that_goes_away_is_no_bug(computer: Computer) -> None:
    program = subprocess.Popen(
        computer.command("phonevault.cli.main", "info", computer.vault),
        env=computer.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    program.stdout.close()
    assert program.stderr is not None
    assert "Traceback" not in program.stderr.read()
    program.stderr.close()
    program.wait()

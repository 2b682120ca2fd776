"""What was typed is wiped, and never in a core dump, also where a command gives up."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import click
import pytest
from support.computer import Computer
from support.needs import need_fuse
from support.terminal import OnTerminal

from keyslots.place import Place
from phonevault.cli import new_passphrase, opening, recovery_output, secret_input
from phonevault.daemon import serve
from phonevault.daemon.state import Policy
from phonevault.daemon.treelock import hold_tree
from phonevault.daemon.ways import PhoneWay, SecretWay, Way
from phonevault.errors import OutputFileError, VaultInUse


def test_a_passphrase_that_is_not_repeated_is_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    first = bytearray(b"orbit velvet")
    answers = iter([first])

    def ask(_: str) -> bytearray:
        try:
            return next(answers)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(secret_input, "has_terminal", lambda: True)
    monkeypatch.setattr(secret_input, "_ask", ask)
    with pytest.raises(KeyboardInterrupt):
        secret_input.prompt_secret("passphrase", repeat=True)
    assert first == bytes(12)


def test_a_weak_passphrase_is_wiped_when_the_question_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = bytearray(b"password1")

    def interrupted(*_: object, **__: object) -> bool:
        raise click.Abort

    monkeypatch.setattr(new_passphrase, "prompt_secret", lambda *_, **__: weak)
    monkeypatch.setattr(new_passphrase, "has_terminal", lambda: True)
    monkeypatch.setattr(new_passphrase.click, "confirm", interrupted)
    with pytest.raises(click.Abort):
        new_passphrase.ask_new_passphrase(None)
    assert weak == bytes(9)


def test_no_passphrase_is_read_for_a_phone_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def unusable(_: object) -> None:
        raise OSError("no identity")

    monkeypatch.setattr(opening.phones, "phone_for", lambda *_: None)
    monkeypatch.setattr(opening.phones, "connector", unusable)
    monkeypatch.setattr(opening, "read_secret", lambda *_: pytest.fail("the passphrase was read"))
    with pytest.raises(OSError, match="no identity"):
        opening.choose_way(None, "pocket", "file", None)  # type: ignore[arg-type]  # not looked at before


@pytest.mark.parametrize("phone", [True, False])
def test_the_secret_of_a_mount_is_wiped_if_the_vault_is_in_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, phone: bool
) -> None:
    (tmp_path / "tree").mkdir()
    typed = bytearray(b"orbit velvet")
    way: Way = SecretWay("passphrase", typed)
    if phone:
        way = PhoneWay("pocket", "00" * 32, lambda _: pytest.fail("the phone was asked"), typed)
    plan = serve.MountPlan(Place(tmp_path), tmp_path, Policy())
    for module, name in (
        (serve, "forbid_dumps"),
        (serve, "allow_many_files"),
        (serve.signal, "signal"),
        (serve.os, "umask"),
    ):
        monkeypatch.setattr(module, name, lambda *_: None)  # they would change the process of the tests
    held = hold_tree(tmp_path, shared=False)
    try:
        with pytest.raises(VaultInUse):
            serve.mount_and_serve(plan, way, lambda: None, lambda _: None)
    finally:
        os.close(held)
    assert typed == bytes(12)


def test_a_code_that_was_not_written_whole_is_not_given(tmp_path: Path) -> None:
    out = tmp_path / "code"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OutputFileError, match="whole"), recovery_output.code_file(str(out)) as descriptor:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
        try:
            recovery_output.give_code("0000-" * 8 + "0000", descriptor)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not out.exists()


def test_no_dump_while_a_new_passphrase_is_typed(computer: Computer) -> None:
    new, out = computer.root / "new", computer.root / "out"
    words = ("create", new, "--no-phone", "--passphrase-file", "-", "--recovery-file", out)
    assert_no_dump_at(computer, "New passphrase: ", *words)


@pytest.mark.mount
def test_no_dump_while_a_code_is_typed_for_an_unlock(computer: Computer) -> None:
    need_fuse()
    computer.mount("--recovery-file", computer.code_file)
    computer.run("lock", computer.place)
    assert_no_dump_at(computer, "Recovery code: ", "unlock", computer.place)
    computer.run("unmount", computer.place)


def assert_no_dump_at(computer: Computer, prompt: str, *words: object) -> None:
    argv = computer.command("phonevault.cli.main", *words)
    argv = ["sh", "-c", 'ulimit -S -c "$(ulimit -H -c)"; exec "$@"', "sh", *argv]
    with OnTerminal(argv, computer.environment) as screen:
        screen.wait_for(prompt)
        limits = Path(f"/proc/{screen.process.pid}/limits").read_text()
        assert [line.split()[4:6] for line in limits.splitlines() if "core file" in line] == [["0", "0"]]

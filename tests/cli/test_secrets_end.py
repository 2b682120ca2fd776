"""What was typed is wiped, and never in a core dump, also where a command gives up."""

from __future__ import annotations

import resource
from pathlib import Path

import click
import pytest
from support.computer import Computer
from support.terminal import OnTerminal

from phonevault.cli import new_passphrase, opening, recovery_output, secret_input
from phonevault.errors import OutputFileError


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


@pytest.mark.parametrize(
    "words", [("create", "NEW", "--no-phone", "--passphrase-file", "-", "--recovery-file", "OUT")]
)
def test_no_dump_while_a_passphrase_is_typed(computer: Computer, words: tuple[str, ...]) -> None:
    places = {"NEW": str(computer.root / "new"), "OUT": str(computer.root / "out")}
    argv = computer.command("phonevault.cli.main", *(places.get(word, word) for word in words))
    argv = ["sh", "-c", 'ulimit -S -c "$(ulimit -H -c)"; exec "$@"', "sh", *argv]
    with OnTerminal(argv, computer.environment) as screen:
        screen.wait_for("New passphrase: ")
        limits = Path(f"/proc/{screen.process.pid}/limits").read_text()
        assert [line.split()[4:6] for line in limits.splitlines() if "core file" in line] == [["0", "0"]]

"""What a person sees and types: codes, questions, tables."""

from __future__ import annotations

import pytest
from support.computer import Computer
from support.needs import need_fuse
from support.terminal import OnTerminal

CODE = r"(?m)^ +((?:[0-9A-Z]{4}-){8}[0-9A-Z]{4})$"


def on_terminal(computer: Computer, *arguments: object) -> OnTerminal:
    return OnTerminal(computer.command("phonevault.cli.main", *arguments), computer.environment)


def test_the_recovery_code_is_shown_and_opens_the_vault(computer: Computer) -> None:
    computer.start_phone()
    vault = computer.root / "new"
    with on_terminal(computer, "create", vault) as screen:
        code = screen.wait_for(CODE)[1]
        screen.wait_for("Recovery code: ")
        screen.answer(code.lower().replace("-", " "))
        assert screen.wait() == 0
    assert screen.screen.count(code) == 1
    need_fuse()
    computer.run("mount", vault, computer.place, "--recovery-file", "-", input=code.lower().replace("-", " "))
    computer.run("unmount", computer.place)


def test_a_code_that_was_written_down_wrongly_is_found(fresh: Computer) -> None:
    with on_terminal(fresh, "create", fresh.vault, "--no-phone", "--single-slot") as screen:
        code = screen.wait_for(CODE)[1]
        screen.wait_for("Recovery code: ")
        groups = code.split("-")
        groups[2], groups[8] = "0000" if groups[2] != "0000" else "1111", groups[8][:3]
        screen.answer("-".join(groups))
        screen.wait_for(r"look at group 3, 9\.\nRecovery code: ")
        assert fresh.vault.exists()  # not yet said to be there
        assert "made" not in screen.screen
        screen.answer(code)
        assert screen.wait() == 0
    fresh.run("slot", "test", fresh.vault, "--recovery-file", "-", input=code)


@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("\x04", 5)], ids=["Ctrl-C", "Ctrl-D"])
def test_without_the_code_typed_back_there_is_no_vault(fresh: Computer, key: str, code: int) -> None:
    with on_terminal(fresh, "create", fresh.vault, "--no-phone", "--single-slot") as screen:
        screen.wait_for("Recovery code: ")
        screen.press(key)
        assert screen.wait() == code
    assert not fresh.vault.exists()


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 49), ("", 49)])
def test_the_digits_are_the_same_on_both_sides_and_the_answer_counts(
    computer: Computer, answer: str, code: int
) -> None:
    computer.start_phone("--approve", "auto", "--accept-pairing")
    with on_terminal(computer, "phone", "pair", computer.spec, "--name", "pocket") as screen:
        digits = "".join(screen.wait_for(r"(\d{3}) (\d{3})").groups())
        screen.wait_for(r"\[y/N\]")
        screen.answer(answer)
        assert screen.wait() == code, screen.screen
    computer.stop_phone()
    assert digits.isdecimal()


def test_tables_are_drawn_with_headings(computer: Computer) -> None:
    with on_terminal(computer, "phone", "list") as screen:
        assert screen.wait() == 0
    assert "reached by" in screen.screen
    assert "pocket" in screen.screen
    with on_terminal(computer, "status") as screen:
        assert screen.wait() == 0
    assert screen.screen.strip()


@pytest.mark.mount
@pytest.mark.anyone
def test_a_passphrase_is_asked_for_without_echo(fresh: Computer) -> None:
    need_fuse()
    (fresh.root / "p").write_text("open sesame")
    fresh.run(
        "create",
        fresh.vault,
        "--no-phone",
        "--passphrase-file",
        fresh.root / "p",
        "--recovery-file",
        fresh.code_file,
    )
    with on_terminal(fresh, "mount", fresh.vault, fresh.place) as screen:
        screen.wait_for("Passphrase: ")
        screen.answer("open sesame")
        assert screen.wait() == 0, screen.screen  # the daemon has let go of the terminal
    assert "open sesame" not in screen.screen
    fresh.run("lock", fresh.place)
    with on_terminal(fresh, "unlock", fresh.place) as screen:
        screen.wait_for("Passphrase: ")
        screen.answer("wrong")
        assert screen.wait() == 14
    with on_terminal(fresh, "unlock", fresh.place) as screen:
        screen.wait_for("Passphrase: ")
        screen.answer("open sesame")
        assert screen.wait() == 0
    fresh.run("unmount", fresh.place)


@pytest.mark.mount
@pytest.mark.anyone
def test_a_hangup_of_the_terminal_does_not_end_the_daemon(computer: Computer) -> None:
    need_fuse()
    with on_terminal(
        computer, "mount", computer.vault, computer.place, "--recovery-file", computer.code_file
    ) as screen:
        assert screen.wait() == 0
    assert computer.status()["state"] == "unlocked"
    computer.run("unmount", computer.place)


def test_ctrl_c_at_a_question_ends_quietly(fresh: Computer) -> None:
    with on_terminal(fresh, "create", fresh.vault, "--no-phone", "--passphrase-file", "-") as screen:
        screen.wait_for("New passphrase: ")
        screen.answer("\x03")
        assert screen.wait() == 130
    assert "Traceback" not in screen.screen
    assert not fresh.vault.exists()


def test_a_new_vaults_passphrase_is_asked_for_twice_and_judged(fresh: Computer) -> None:
    argv = ("create", fresh.vault, "--no-phone", "--passphrase-file", "-", "--recovery-file", fresh.code_file)
    with on_terminal(fresh, *argv) as screen:
        for prompt in ("New passphrase: ", "Once more: "):
            screen.wait_for(prompt)
            screen.answer("letmein")
        screen.wait_for(r"easy to guess(.|\n)*\[y/N\]")
        screen.answer("n")
        assert screen.wait() == 5
    assert not fresh.vault.exists()
    assert not fresh.code_file.exists()

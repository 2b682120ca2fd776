"""`phonevault-phone` in real processes: exit codes, output, and a real computer over a unix socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.phone_bench import PIN, REPOSITORY, WRONG, Served, encrypt, program, serving

from phone_link.cryptoki import CKR
from phone_link.errors import (
    LinkClosed,
    LinkTimeout,
    PairingRefused,
    PhoneError,
    PinRequired,
    UnknownPeer,
    UserRefused,
)
from phone_link.host.identity import HostIdentity
from phone_link.host.pair import pair
from phone_link.host.phone_book import PairedPhone
from phone_link.host.session import PhoneSession
from phone_link.phone import exit_codes
from phone_link.phone.cli import run_main
from phone_link.phone.log import UnlockLog
from phone_link.phone.serving import _Ending
from phone_link.phone.store import Store
from phone_link.transport.open import connect

SECRET = bytes(range(32))


class Computer:
    """The other end: pairs and opens sessions at a unix socket; closes them at the end."""

    def __init__(self, directory: Path, cleanup: ExitStack) -> None:
        self.spec = f"unix:{directory}/phone.sock"
        self.identity = HostIdentity.load_or_create(directory / "identity")
        self._cleanup = cleanup
        self.codes: list[str] = []

    def pair(self, *, agree: bool = True) -> PairedPhone:
        def confirm(code: str) -> bool:
            self.codes.append(code)
            return agree

        return pair(connect(self.spec), self.identity, "laptop", self.spec, confirm)

    def open(self, phone: PairedPhone) -> PhoneSession:
        session = PhoneSession.open(connect(self.spec), self.identity, phone)
        self._cleanup.callback(session.close)
        return session


@pytest.fixture
def computer(tmp_path: Path) -> Iterator[Computer]:
    with ExitStack() as cleanup:
        yield Computer(tmp_path, cleanup)


def unlock(session: PhoneSession, phone: PairedPhone, reason: str = "mount ~/v") -> bytes:
    return bytes(session.decrypt(phone.fingerprint, encrypt(phone.public_key_der, SECRET), reason, 20))


def events(store: Store) -> list[str]:
    return [entry["event"] for entry in UnlockLog(store.path).read()]


# init, status, log


def test_init_status_and_log(tmp_path: Path, pin_file: Path) -> None:
    store, puk = tmp_path / "s", tmp_path / "puk"
    done = program(
        "init", store, "--pin-file", pin_file, "--puk-file", puk, "--bits", "2048", "--name", "my phone"
    )
    assert done.returncode == 0, done.stderr
    digits = puk.read_text().strip()
    assert len(digits) == 16 and digits not in done.stdout + done.stderr
    assert stat.S_IMODE(puk.stat().st_mode) == 0o600
    facts = json.loads(program("status", store, "--json").stdout)
    (key,) = facts["keys"]
    assert (facts["name"], facts["pin_tries_left"], facts["agent"], facts["computers"]) == (
        "my phone",
        3,
        None,
        [],
    )
    assert (key["bits"], key["policy"], key["usage"]) == (2048, "ask", ["decrypt"])
    assert key["fingerprint"] in done.stdout
    assert "3 tries left" in program("status", store).stdout
    (entry,) = json.loads(program("log", store, "--json").stdout)
    assert entry["event"] == "init"
    assert program("log", store).stdout.endswith(" init\n")


def test_init_can_leave_the_key_out(tmp_path: Path, pin_file: Path) -> None:
    done = program("init", tmp_path / "s", "--pin-file", pin_file, "--no-key")
    assert done.returncode == 0
    assert "PUK" in done.stderr and "PUK" not in done.stdout  # no terminal: not shown
    assert json.loads(program("status", tmp_path / "s", "--json").stdout)["keys"] == []


def test_init_refuses_what_it_cannot_do_and_leaves_nothing(tmp_path: Path, pin_file: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(b"12\n")
    two_lines = tmp_path / "two"
    two_lines.write_bytes(b"1234\n5678\n")
    taken = tmp_path / "taken"
    taken.write_bytes(b"")
    before = sorted(os.listdir(tmp_path))
    store = tmp_path / "s"
    for code, arguments in [
        (8, [store]),
        (8, [store, "--pin-file", short]),
        (8, [store, "--pin-file", two_lines]),
        (8, [store, "--pin-file", tmp_path / "missing"]),
        (4, [store, "--pin-file", pin_file, "--puk-file", taken]),
        (4, [taken, "--pin-file", pin_file]),
        (3, [tmp_path / "no" / "s", "--pin-file", pin_file]),
        (2, [store, "--pin-file", pin_file, "--bits", "1024"]),
        (2, [store, "--pin-file", pin_file, "--name", "a\nb"]),
    ]:
        done = program("init", *arguments)
        assert done.returncode == code, (arguments, done.stderr)
        assert "rror: " in done.stderr and "Traceback" not in done.stderr
    assert sorted(os.listdir(tmp_path)) == before


def test_commands_without_a_store_say_so(tmp_path: Path) -> None:
    for command in ("status", "log", "lock", "unlock"):
        done = program(command, tmp_path / "nothing")
        assert done.returncode == 3, command
        assert done.stderr.startswith("error: ") and "\nhint: " in done.stderr
    assert program("serve", tmp_path / "nothing", "--listen", f"unix:{tmp_path}/x").returncode == 3
    assert program("forget", tmp_path / "nothing", "laptop").returncode == 3


def test_a_damaged_or_open_store_says_so(store: Store) -> None:
    path = store.path / "phone.json"
    path.write_bytes(path.read_bytes()[:-10])
    assert program("status", store.path).returncode == 5
    path.chmod(0o644)
    done = program("status", store.path)
    assert done.returncode == 13 and "chmod" in done.stderr


def test_the_table_of_exit_codes_is_in_the_help_and_unambiguous() -> None:
    text = program("--help").stdout
    codes = [code for _, code, _ in exit_codes.EXIT_CODES]
    assert len(set(codes)) == len(codes)
    assert all(meaning in text for _, _, meaning in exit_codes.EXIT_CODES)


# PIN and PUK


def test_wrong_pins_are_counted_across_processes_until_the_puk(
    store: Store, puk: bytearray, tmp_path: Path, pin_file: Path
) -> None:
    wrong, new, puk_file = tmp_path / "wrong", tmp_path / "new", tmp_path / "puk"
    wrong.write_bytes(WRONG)
    new.write_bytes(b"abcd")
    puk_file.write_bytes(puk + b"\n")
    serve = ("serve", store.path, "--listen", f"unix:{tmp_path}/phone.sock", "--pin-file")
    for code, left in [(6, 2), (6, 1), (7, 0), (7, 0)]:
        done = program(*serve, wrong)
        assert done.returncode == code
        assert store.load().pin_tries == left
        assert "ready" not in done.stdout and not (tmp_path / "phone.sock").exists()
    assert "1 try left" not in done.stderr and "blocked" in done.stderr
    assert program(*serve, pin_file).returncode == 7
    assert "unblock" in program("status", store.path).stdout
    bad = tmp_path / "bad"
    bad.write_bytes(b"0" * 16 if puk != b"0" * 16 else b"1" * 16)
    done = program("unblock", store.path, "--puk-file", bad, "--pin-file", new)
    assert done.returncode == 6 and "9 tries left" in done.stderr
    assert program("unblock", store.path, "--puk-file", puk_file, "--pin-file", new).returncode == 0
    assert program("change-pin", store.path, "--old-pin-file", new, "--pin-file", pin_file).returncode == 0
    assert program("change-pin", store.path, "--old-pin-file", new, "--pin-file", pin_file).returncode == 6
    assert events(store)[-3:] == ["pin changed", "pin changed", "wrong pin"]
    assert "pin blocked" in events(store)


# serve


def test_the_whole_way_over_a_unix_socket(
    store: Store, pin_file: Path, tmp_path: Path, computer: Computer
) -> None:
    with serving(
        store.path, "--listen", computer.spec, "--pin-file", pin_file, "--approve", "auto", "--accept-pairing"
    ) as phone:
        assert phone.wait_for("\n").startswith(f"ready: {computer.spec}\n")
        paired = computer.pair()
        (code,) = computer.codes
        phone.wait_for(f"pairing code {code[:3]} {code[3:]} with laptop")
        session = computer.open(paired)
        assert unlock(session, paired) == SECRET
        phone.wait_for("unlock for laptop: mount ~/v, approved automatically")
        assert session.info().name == "test phone"
        status = json.loads(program("status", store.path, "--json").stdout)
        assert status["agent"] == {"connected": ["laptop"], "locked": False, "logged_in": True}

        told: list[int] = []
        session.on_lock(lambda: told.append(1))
        assert program("lock", store.path).stdout == "locked; told 1 computer\n"
        session.wait(0.2)
        session.ping(10)
        assert told == [1]
        with pytest.raises(UserRefused):
            unlock(session, paired)
        assert program("unlock", store.path).returncode == 0
        assert unlock(session, paired) == SECRET

        assert phone.stop(signal.SIGTERM) == 0
    assert not (tmp_path / "phone.sock").exists() and not (store.path / "agent.sock").exists()
    assert events(store) == [
        *("init", "login", "paired", "unlock", "lock", "refused", "lock ended", "unlock"),
    ]


def test_a_new_start_ends_the_lock(store: Store, pin_file: Path, computer: Computer) -> None:
    arguments = (
        store.path,
        "--listen",
        computer.spec,
        "--pin-file",
        pin_file,
        "--approve",
        "auto",
        "--accept-pairing",
    )
    with serving(*arguments) as phone:
        phone.wait_for("ready")
        paired = computer.pair()
        assert program("lock", store.path).returncode == 0
        assert phone.stop(signal.SIGINT) == 0
    with serving(*arguments) as phone:
        phone.wait_for("ready")
        assert unlock(computer.open(paired), paired) == SECRET


def test_a_killed_agent_is_replaced(store: Store, pin_file: Path, computer: Computer) -> None:
    arguments = (store.path, "--listen", computer.spec, "--pin-file", pin_file)
    with serving(*arguments) as phone:
        phone.wait_for("ready")
        second = program("serve", store.path, "--listen", f"{computer.spec}2", "--pin-file", pin_file)
        assert second.returncode == 10
        phone.stop(signal.SIGKILL)
    assert program("status", store.path, "--json").returncode == 0
    assert program("lock", store.path).returncode == 9
    with serving(*arguments) as phone:
        phone.wait_for("ready")
        assert phone.stop() == 0


def test_a_place_where_nobody_can_listen(store: Store, pin_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"keep")
    for spec, code in [
        (f"unix:{tmp_path}/file", 11),
        (f"unix:{tmp_path}/no/x", 11),
        ("nonsense", 2),
        ("tcp:x", 2),
    ]:
        done = program("serve", store.path, "--listen", spec, "--pin-file", pin_file)
        assert done.returncode == code, done.stderr
        assert done.stderr.startswith("error: ")
    assert (tmp_path / "file").read_bytes() == b"keep"


def test_without_pin_the_computer_may_send_it(store: Store, computer: Computer) -> None:
    with serving(store.path, "--listen", computer.spec, "--approve", "auto", "--accept-pairing") as phone:
        phone.wait_for("the PIN has not been entered")
        with pytest.raises(PinRequired):
            computer.pair()  # the computer is known now, but its key cannot be seen
        assert [peer.name for peer in store.load().peers] == ["laptop"]
        (key,) = store.read_keys()
        static = _static_public(store)
        paired = PairedPhone("p", computer.spec, static, key.public, key.id.hex(), "2026-01-01")
        session = computer.open(paired)
        with pytest.raises(PinRequired):
            unlock(session, paired)
        session.login(bytearray(PIN))
        assert unlock(session, paired) == SECRET
        session.close()
        with pytest.raises(PinRequired):  # the login was that connection's
            unlock(computer.open(paired), paired)


def _static_public(store: Store) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(store.load().static_private).public_key().public_bytes_raw()


def test_without_terminal_nothing_is_paired_and_nothing_approved(
    store: Store, pin_file: Path, computer: Computer
) -> None:
    with serving(store.path, "--listen", computer.spec, "--pin-file", pin_file, "--accept-pairing") as phone:
        phone.wait_for("no terminal to ask on")
        paired = computer.pair()
        with pytest.raises(UserRefused):
            unlock(computer.open(paired), paired)
        phone.wait_for("refused for laptop: mount ~/v, nobody to ask")
        phone.stop()
    with serving(store.path, "--listen", computer.spec, "--pin-file", pin_file) as phone:
        phone.wait_for("ready")
        with pytest.raises(PairingRefused):
            computer.pair()


def test_a_pairing_the_computer_refuses_is_not_kept(store: Store, pin_file: Path, computer: Computer) -> None:
    with serving(store.path, "--listen", computer.spec, "--pin-file", pin_file, "--accept-pairing") as phone:
        phone.wait_for("ready")
        with pytest.raises(PairingRefused):
            computer.pair(agree=False)
    assert store.load().peers == ()


def test_forget_ends_the_connection_and_the_pairing(store: Store, pin_file: Path, computer: Computer) -> None:
    arguments = (
        store.path,
        "--listen",
        computer.spec,
        "--pin-file",
        pin_file,
        "--approve",
        "auto",
        "--accept-pairing",
    )
    with serving(*arguments) as phone:
        phone.wait_for("ready")
        paired = computer.pair()
        session = computer.open(paired)
        assert program("forget", store.path, "desktop").returncode == 12
        assert program("forget", store.path, "laptop").stdout == "forgot laptop\n"
        with pytest.raises((LinkClosed, LinkTimeout)):
            session.ping(10)
        with pytest.raises(UnknownPeer):
            computer.open(paired)
    assert events(store)[-1] == "forgotten"
    assert program("forget", store.path, "laptop").returncode == 12


def test_strangers_cannot_take_all_places(store: Store, pin_file: Path, computer: Computer) -> None:
    arguments = (
        store.path,
        "--listen",
        computer.spec,
        "--pin-file",
        pin_file,
        "--approve",
        "auto",
        "--accept-pairing",
    )
    with serving(*arguments) as phone, ExitStack() as strangers:
        phone.wait_for("ready")
        for _ in range(12):
            strangers.callback(connect(computer.spec).close)
        paired = computer.pair()
        assert unlock(computer.open(paired), paired) == SECRET


def test_garbage_on_the_line_harms_nobody(
    store: Store, pin_file: Path, tmp_path: Path, computer: Computer
) -> None:
    arguments = (
        store.path,
        "--listen",
        computer.spec,
        "--pin-file",
        pin_file,
        "--approve",
        "auto",
        "--accept-pairing",
    )
    with serving(*arguments) as phone:
        phone.wait_for("ready")
        for data in (
            b"\x00\xff" * 5000,
            b'AT*PHS="KK",1,"0000000000000000","AAAA"\r',
            b'AT*PMSG=1,"AAAA"\r',
            b"AT" + b"A" * 99999,
        ):
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(str(tmp_path / "phone.sock"))
                line.sendall(data)
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(tmp_path / "phone.sock"))
            line.settimeout(20)
            line.sendall(b'AT*PLOGIN=1,1,"1234"\r')  # outside the channel
            answer = b""
            while b"ERROR" not in answer:
                answer += line.recv(100)
            assert b"OK" not in answer
        paired = computer.pair()
        assert unlock(computer.open(paired), paired) == SECRET


def test_garbage_at_the_control_socket_is_refused(store: Store, pin_file: Path, computer: Computer) -> None:
    with serving(store.path, "--listen", computer.spec, "--pin-file", pin_file) as phone:
        phone.wait_for("ready")
        path = store.path / "agent.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for data in (
            b"\n",
            b"[]\n",
            b'{"command":1}\n',
            b'{"command":"lock","x":1}\n',
            b'{"command":"nonsense"}\n',
        ):
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(str(path))
                line.sendall(data)
                assert json.loads(line.recv(1000))["ok"] is False
        assert json.loads(program("status", store.path, "--json").stdout)["agent"]["locked"] is False


def test_a_log_that_cannot_be_written_does_not_stop_a_lock(
    store: Store, pin_file: Path, computer: Computer
) -> None:
    arguments = ("--listen", computer.spec, "--pin-file", pin_file, "--approve", "auto", "--accept-pairing")
    with serving(store.path, *arguments) as phone:
        phone.wait_for("ready")
        paired = computer.pair()
        session = computer.open(paired)
        told: list[int] = []
        session.on_lock(lambda: told.append(1))
        (store.path / "log.jsonl").unlink()
        (store.path / "log.jsonl").mkdir()
        assert program("lock", store.path).returncode == 1
        session.ping(10)
        assert told == [1]
        with pytest.raises(PhoneError) as caught:  # what cannot be recorded is not done
            unlock(session, paired)
        assert caught.value.ckr == CKR.DEVICE_ERROR
        assert json.loads(program("status", store.path, "--json").stdout)["agent"]["locked"] is True


def test_a_long_store_path_works(tmp_path: Path, store: Store, pin_file: Path, computer: Computer) -> None:
    long = tmp_path / ("d" * 120)
    store.path.rename(long)
    with serving(long, "--listen", computer.spec, "--pin-file", pin_file) as phone:
        phone.wait_for("ready")
        assert program("lock", long).returncode == 0


# On a terminal


def on_terminal(store: Store, computer: Computer, *more: object) -> tuple[object, ...]:
    return (store.path, "--listen", computer.spec, *more)


def test_the_user_is_asked_on_the_terminal(store: Store, pin_file: Path, computer: Computer) -> None:
    with serving(*on_terminal(store, computer, "--pin-file", pin_file), terminal=True) as phone:
        phone.wait_for("ready")
        paired = _pair_on_terminal(phone, computer, "y\n")
        session = computer.open(paired)
        for typed, reason in [("y\n", "first"), ("n\n", "second")]:
            with _answering(phone, f"unlock for laptop: {reason}? [y/N]", typed):
                if typed == "y\n":
                    assert unlock(session, paired, reason) == SECRET
                else:
                    with pytest.raises(UserRefused):
                        unlock(session, paired, reason)
        phone.type("lock\n")
        phone.wait_for("everything is locked")
        with pytest.raises(UserRefused):
            unlock(session, paired, "third")
        phone.type("unlock\n")
        phone.wait_for("lock ended")
        phone.type("quit\n")
        assert phone.process.wait(timeout=20) == 0
    assert events(store)[-5:] == ["unlock", "refused", "lock", "refused", "lock ended"]


def test_no_answer_is_a_refusal(store: Store, pin_file: Path, computer: Computer) -> None:
    arguments = on_terminal(store, computer, "--pin-file", pin_file, "--accept-pairing", "--ask-timeout", 1)
    with serving(*arguments, terminal=True) as phone:
        phone.wait_for("ready")
        paired = computer.pair()
        with pytest.raises(UserRefused):
            unlock(computer.open(paired), paired)
        phone.wait_for("refused for laptop: mount ~/v, no answer")


def test_the_user_may_refuse_the_code(store: Store, pin_file: Path, computer: Computer) -> None:
    with serving(*on_terminal(store, computer, "--pin-file", pin_file), terminal=True) as phone:
        phone.wait_for("ready")
        with pytest.raises(PairingRefused):
            _pair_on_terminal(phone, computer, "n\n")
    assert store.load().peers == ()
    assert events(store)[-1] == "pairing refused"


def test_the_pin_is_typed_at_the_start_or_later(store: Store, computer: Computer) -> None:
    with serving(
        *on_terminal(store, computer, "--approve", "auto", "--accept-pairing"), terminal=True
    ) as phone:
        phone.wait_for("PIN (empty: later): ")
        phone.type("9999\n")
        phone.wait_for("2 tries left")
        phone.wait_for_again("PIN (empty: later): ")
        phone.type("\n")
        phone.wait_for("ready")
        with _answering(phone, "PIN, wanted by laptop: ", "1234\n"):
            paired = computer.pair()
        assert unlock(computer.open(paired), paired) == SECRET
        assert phone.stop() == 0
    assert "1234" not in phone.output and "9999" not in phone.output


def test_init_on_a_terminal_asks_twice_and_shows_the_puk_once(tmp_path: Path) -> None:
    with serving(tmp_path / "s", "--no-key", terminal=True, command="init") as phone:
        phone.wait_for("new PIN (4 to 16 characters): ")
        phone.type("1234\n")
        phone.wait_for("new PIN, again: ")
        phone.type("1234\n")
        phone.wait_for("PUK: ")
        assert phone.process.wait(timeout=20) == 0
    assert "1234\r" not in phone.output
    with serving(tmp_path / "t", "--no-key", terminal=True, command="init") as phone:
        phone.wait_for("new PIN (4 to 16 characters): ")
        phone.type("1234\n")
        phone.wait_for("new PIN, again: ")
        phone.type("1235\n")
        phone.wait_for("error: the two PINs differ")
        assert phone.process.wait(timeout=20) == 8
    assert not (tmp_path / "t").exists()


def test_init_refuses_a_short_pin_before_it_asks_again(tmp_path: Path) -> None:
    with serving(tmp_path / "s", "--no-key", terminal=True, command="init") as phone:
        phone.wait_for("new PIN (4 to 16 characters): ")
        phone.type("123\n")
        phone.wait_for("error: the PIN has the wrong length")
        assert phone.process.wait(timeout=20) == 8
    assert "again" not in phone.output
    assert not (tmp_path / "s").exists()


def test_a_usage_error_is_one_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(["serve"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "error: Missing argument 'STORE'.\nhint: phonevault-phone serve --help\n"


def _pair_on_terminal(phone: Served, computer: Computer, typed: str) -> PairedPhone:
    with _answering(phone, "[y/N]", typed):
        return computer.pair()


class _answering:
    """Types an answer, in a thread, when the phone has asked."""

    def __init__(self, phone: Served, prompt: str, typed: str) -> None:
        import threading

        self._phone, self._prompt, self._typed = phone, prompt, typed
        self._thread = threading.Thread(target=self._answer)
        self._failure: AssertionError | None = None

    def _answer(self) -> None:
        try:
            self._phone.wait_for_again(self._prompt)
            self._phone.type(self._typed)
        except AssertionError as failure:
            self._failure = failure

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._failure is not None:
            raise self._failure


# Quick start


def test_status_loads_nothing_heavy(store: Store) -> None:
    code = (
        "import sys\nfrom phone_link.phone.cli import run_main\n"
        f"assert run_main(['log', {str(store.path)!r}]) == 0\n"
        "heavy = {'cryptography', 'noise', 'rich', 'asyncio', 'serial', 'bumble'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_signal_in_the_middle_of_waiting_ends_it() -> None:
    ending = _Ending()
    ending.serving = True
    with ending.event._cond:  # where the thread that waits may be, and no other can be waited for by it
        ending._on_signal(signal.SIGTERM, None)
    assert ending.event.wait(10)

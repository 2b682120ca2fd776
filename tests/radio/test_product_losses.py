"""Every way a phone goes away, with a mounted vault over the virtual radio: frozen, locked, and open by its return.

The folder's states are read from the daemon's log, which has each change; how long they take is measured elsewhere.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator

import pytest
from support.computer import PHONE, ROOT, Computer, wait_until
from support.needs import need_fuse
from support.radio import PHONE_ADDRESS, Radio, running_radio

pytestmark = [pytest.mark.radio, pytest.mark.mount, pytest.mark.anyone]

PHONE_PROGRAM = ROOT / "scripts" / "bluez_machine" / "phone_program.py"
"""The phone's program, which closes its RFCOMM channel at SIGUSR1."""
GRACE_S = 4.0
SUPERVISION_S = 0.5
CONTENTS = "private"


class RadioComputer(Computer):
    """A computer and a phone, each with an adapter of a virtual radio."""

    radio: Radio

    @property
    def listen_spec(self) -> str:
        return self.radio.listen_spec

    def command(self, module: str, *arguments: object) -> list[str]:
        if module == PHONE:
            return [sys.executable, str(PHONE_PROGRAM), *map(str, arguments)]
        return super().command(module, *arguments)

    def signal_phone(self, number: int) -> None:
        assert self.phone is not None
        self.phone.send_signal(number)

    def log(self) -> str:
        """What the daemon has logged so far."""
        folder = self.root / "home" / "state" / "phonevault" / "log"
        return "".join(path.read_text() for path in folder.glob("*.log"))


@pytest.fixture(scope="module")
def computer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RadioComputer]:
    """A vault that is mounted; each test leaves it open."""
    need_fuse()
    root = tmp_path_factory.mktemp("c")
    computer = RadioComputer(root)
    with running_radio(computer.short, SUPERVISION_S) as radio:
        computer.radio, computer.spec = radio, radio.connect_spec
        try:
            computer.make_phone()
            computer.start_phone("--approve", "auto", "--accept-pairing")
            computer.pair()
            computer.create()
            computer.mount("--grace", GRACE_S)
            (computer.place / "file").write_text(CONTENTS)
            yield computer
            computer.run("unmount", computer.place)
        finally:
            computer.close()


@pytest.fixture(autouse=True)
def open_before_and_after(computer: RadioComputer) -> Iterator[None]:
    computer.wait_for("unlocked")
    yield
    computer.wait_for("unlocked")
    assert (computer.place / "file").read_text() == CONTENTS


def assert_locks(computer: RadioComputer, before: str, problem: str) -> None:
    """Frozen first, then locked because the phone is away; every access is refused; it is said why."""
    status = computer.wait_for("locked")
    assert status["cause"] == "the phone is away"
    wait_until(lambda: "frozen -> locked" in computer.log().removeprefix(before))
    assert "unlocked -> frozen" in computer.log().removeprefix(before)
    with pytest.raises(OSError, match="Required key not available"):
        (computer.place / "file").read_text()
    wait_until(lambda: problem in computer.log().removeprefix(before))
    assert computer.status()["phone_problem"]


def assert_freezes_and_goes_on(computer: RadioComputer, before: str) -> None:
    """The link broke, but the phone is there."""
    wait_until(lambda: "unlocked -> frozen" in computer.log().removeprefix(before))
    wait_until(lambda: computer.log().rstrip().endswith("-> unlocked"))


def test_phone_closes_the_rfcomm_channel_only(computer: RadioComputer) -> None:
    before = computer.log()
    computer.signal_phone(signal.SIGUSR1)
    assert_freezes_and_goes_on(computer, before)


def test_phone_drops_the_acl_link(computer: RadioComputer) -> None:
    before = computer.log()
    computer.radio.command(f"close {PHONE_ADDRESS}")
    assert_freezes_and_goes_on(computer, before)


def bluetooth_off(computer: RadioComputer) -> None:
    computer.radio.command(f"close {PHONE_ADDRESS}")
    computer.radio.walk_away()


def killed(computer: RadioComputer) -> None:
    computer.stop_phone(signal.SIGKILL)


def ended(computer: RadioComputer) -> None:
    computer.stop_phone(signal.SIGTERM)


def out_of_range(computer: RadioComputer) -> None:
    computer.radio.walk_away()


def hangs(computer: RadioComputer) -> None:
    computer.signal_phone(signal.SIGSTOP)


def goes_on(computer: RadioComputer) -> None:
    computer.signal_phone(signal.SIGCONT)


def in_range(computer: RadioComputer) -> None:
    computer.radio.come_back()


@pytest.mark.parametrize(
    ("go", "come", "problem"),
    [
        (bluetooth_off, in_range, "the phone closed the connection"),
        (out_of_range, in_range, f"the phone {PHONE_ADDRESS} does not answer"),
        (killed, Computer.start_phone, "the phone is out of range"),
        (ended, Computer.start_phone, "the phone closed the connection"),
        (hangs, goes_on, "the phone did not answer within"),
    ],
)
def test_phone_goes_and_returns(
    computer: RadioComputer,
    go: Callable[[RadioComputer], None],
    come: Callable[[RadioComputer], None],
    problem: str,
) -> None:
    before = computer.log()
    go(computer)
    try:
        assert_locks(computer, before, problem)
    finally:
        come(computer)


def test_phone_has_forgotten_the_link_key(computer: RadioComputer) -> None:
    before = computer.log()
    keys = next((computer.store / "bluetooth").glob("bluetooth-*.json"))
    known = keys.read_bytes()
    computer.stop_phone()
    keys.unlink()
    computer.start_phone()
    try:
        assert_locks(computer, before, f"the phone {PHONE_ADDRESS} does not know this computer any more")
    finally:
        computer.stop_phone()
        keys.write_bytes(known)
        computer.start_phone()


def test_phone_is_absent_at_mount(computer: RadioComputer) -> None:
    computer.run("unmount", computer.place)
    computer.radio.walk_away()
    refused = computer.run("mount", computer.vault, computer.place, "--grace", GRACE_S, code=41)
    assert f"the phone {PHONE_ADDRESS} does not answer" in refused.stderr
    assert "in range" in refused.stderr
    assert not os.path.ismount(computer.place)
    computer.radio.come_back()
    computer.mount("--grace", GRACE_S)


def test_an_old_header_is_refused_when_the_phone_is_back(computer: RadioComputer) -> None:
    """The phone knows the newer one from the mount; what a server put back meanwhile does not open."""
    paths = [computer.vault / name for name in ("phonevault.json", "phonevault.json.bak")]
    old = paths[0].read_bytes()
    computer.run("rotate", "slot", computer.vault, 1, "--recovery-file", computer.code_file)
    computer.run("lock", computer.place)
    computer.run("unlock", computer.place)
    new = paths[0].read_bytes()
    computer.run("lock", computer.place)
    for path in paths:
        path.write_bytes(old)
    assert "older than" in computer.run("unlock", computer.place, code=57).stderr
    for path in paths:
        path.write_bytes(new)
    computer.run("unlock", computer.place)

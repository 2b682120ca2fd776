"""The control port: the host's end against the machine's own agent, with a socket in the port's place."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bluez_machine.control import Control
from demo_steps.report import BrokenPromise
from support.computer import wait_until

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "bluez_machine" / "guest"))
from agent import Agent


class Port:
    """A connected control port."""

    def __init__(self, directory: Path) -> None:
        path = directory / "control"
        self.control = Control(path, {"PATH": "/usr/bin:/bin", "WHO": "the machine"})
        self.agent_end = socket.socket(socket.AF_UNIX)
        self.agent_end.connect(str(path))
        self.control.accept(10)
        self.agent = Agent(self.agent_end.fileno())
        self.thread = threading.Thread(target=self.agent.serve, daemon=True)
        self.thread.start()


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Port]:
    monkeypatch.chdir(tmp_path)  # the name of a socket is limited to 107 bytes
    port = Port(Path())
    yield port
    port.control.close()
    port.thread.join(10)
    assert not port.thread.is_alive(), "the agent does not end with the host"
    for child in list(port.agent._running.values()):
        os.killpg(child.pid, signal.SIGKILL)
    wait_until(lambda: not any(thread.name.startswith("run") for thread in threading.enumerate()))
    port.agent_end.close()


def test_a_program_prints_and_ends(port: Port) -> None:
    program = port.control.start("sh", "-c", 'echo "$WHO"; echo wrong >&2; exit 7')
    assert program.wait(10) == 7
    assert sorted(program.output.splitlines()) == ["the machine", "wrong"]
    assert 0 < program.took_s < 10
    with pytest.raises(BrokenPromise, match="ends with 0 – but: 7, "):
        program.must_succeed()


def test_programs_run_beside_each_other_and_are_signalled(port: Port) -> None:
    sleeper = port.control.start("sleep", "1000")
    assert port.control.start("echo", "awake").must_succeed(10).output == "awake\n"
    sleeper.signal(signal.SIGTERM)
    assert sleeper.wait(10) == -signal.SIGTERM


def test_a_program_that_is_not_there(port: Port) -> None:
    assert port.control.start("no-such-program").wait(10) == 127


def test_waiting_for_what_is_printed(port: Port) -> None:
    program = port.control.start("sh", "-c", "echo one; sleep 0.2; echo two; sleep 1000")
    assert program.wait_for(r"t(w)o", 10)[1] == "w"
    assert program.pieces[0].clock_s <= program.pieces[-1].clock_s
    with pytest.raises(BrokenPromise, match="shows /three/"):
        program.wait_for("three", 0.1)
    program.signal(signal.SIGKILL)
    program.wait(10)


def test_the_clock_goes_forward(port: Port) -> None:
    assert 0 < port.control.clock() <= port.control.clock()


def test_ready_is_told_once_bluez_is_up(port: Port) -> None:
    assert not port.control.wait_until_ready(0.05)
    port.agent.say({"ready": "6.12"})
    assert port.control.wait_until_ready(10)
    assert port.control.release == "6.12"


def test_a_machine_that_dies_ends_all_waiting(port: Port) -> None:
    sleeper = port.control.start("sh", "-c", "echo here; sleep 1000")
    sleeper.wait_for("here", 10)
    port.agent_end.shutdown(socket.SHUT_RDWR)
    with pytest.raises(BrokenPromise, match="the machine is gone"):
        sleeper.wait(10)
    with pytest.raises(BrokenPromise, match="it is gone"):
        for _ in range(2):  # the first may still fit into the socket's buffer
            port.control.start("true")

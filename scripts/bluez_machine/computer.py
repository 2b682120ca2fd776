"""The user's computer: the machine, and the commands of phonevault in it."""

from __future__ import annotations

import signal
from pathlib import Path

from demo_steps.report import BrokenPromise, Report

from bluez_machine.control import GuestProgram
from bluez_machine.machine import Machine

VAULT = "/tmp/vault"
PLACE = "/tmp/place"
TRACE = "/tmp/hci.btsnoop"
GRACE_S = 4.0
REFUSAL = "Required key not available"
WATCH = Path(__file__).resolve().parent / "guest" / "watch.py"
COMMAND_S = 180.0
NEVER_S = 90.0
"""What has not happened by then never will. Not a measure: the machine is emulated, and slow."""


class Computer:
    """Runs programs in the machine and shows them."""

    def __init__(self, machine: Machine, report: Report) -> None:
        self.machine = machine
        self._report = report
        self._trace = machine.control.start("btmon", "-w", TRACE)
        self.shell(f"mkdir -p {PLACE}")

    def run(self, *argv: object, code: int = 0) -> GuestProgram:
        """Shows a command, runs it to its end, shows what it says."""
        program = self.start(*argv)
        program.wait(COMMAND_S)
        self._report.show(program.output)
        return program.must_end_with(code)

    def start(self, *argv: object) -> GuestProgram:
        """Shows a command and starts it."""
        program = self.machine.control.start(*argv)
        self._report.command(f"[{self.machine.release}] {program}")
        return program

    def shell(self, line: str) -> str:
        """A line for the shell, not shown; what it prints."""
        return self.machine.control.start("sh", "-c", line).must_succeed(COMMAND_S).output

    def mount(self) -> None:
        """Mounts with the phone."""
        self.run("phonevault", "mount", VAULT, PLACE, "--grace", f"{GRACE_S:g}")

    def fill(self) -> None:
        """Files whose contents can be recognised."""
        self.shell(
            f"cd {PLACE} && head -c 8M /dev/urandom >large && mkdir few && for i in $(seq 50); do echo $i >few/$i; done"
            f" && sync && find . -type f | sort | xargs sha256sum >/tmp/sums && test $(wc -l </tmp/sums) = 51"
        )

    def check_intact(self) -> None:
        """What was written is there, unchanged."""
        self.shell(f"cd {PLACE} && sha256sum --quiet -c /tmp/sums")

    def check_refused(self) -> None:
        """Reading answers ENOKEY."""
        program = self.machine.control.start("cat", f"{PLACE}/few/1")
        if program.wait(COMMAND_S) == 0 or REFUSAL not in program.output:
            raise BrokenPromise(f"reading answers “{REFUSAL}” – but: {program.output or 'it can be read'}")

    def watch(self) -> Watch:
        """Begins to watch the state of the mount."""
        return Watch(self.machine.control.start("python", WATCH, PLACE))

    def trace(self, lines: int = 120) -> str:
        """The end of what went over HCI and of the daemon's log, to look at when something failed."""
        return (
            self.machine.control.start(
                "sh",
                "-c",
                f"cat /tmp/home/.local/state/phonevault/log/* | tail -n 15; btmon -T -r {TRACE} | tail -n {lines}",
            )
            .must_succeed(60)
            .output
        )


class Watch:
    """The states of the mount, each with the machine's clock at which it was first seen."""

    def __init__(self, program: GuestProgram) -> None:
        self._program = program

    def seen(self) -> list[tuple[float, str]]:
        """All changes so far."""
        rows = (
            line.split() for line in self._program.output.splitlines(keepends=True) if line.endswith("\n")
        )
        return [(float(row[0]), row[1]) for row in rows if len(row) == 2]

    def wait_for(self, state: str, since_s: float) -> float:
        """Seconds from a time of the machine's clock until the mount was in that state.

        Raises:
            BrokenPromise: It never was.
        """

        def found() -> float | None:
            before = [one for at_s, one in self.seen() if at_s <= since_s]
            if before and before[-1] == state:
                return since_s
            return next((at_s for at_s, one in self.seen() if at_s > since_s and one == state), None)

        try:
            self._program.wait_until(lambda: found() is not None, NEVER_S)
        except TimeoutError:
            raise BrokenPromise(f"{state} within {NEVER_S:.0f} s – but: {self.seen()}") from None
        at_s = found()
        assert at_s is not None
        return at_s - since_s

    def stop(self) -> None:
        """End it."""
        self._program.signal(signal.SIGKILL)
        self._program.wait()

"""pjdfstest against a fresh vault. Run scripts/pjdfstest, which installs what this needs."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from conformance import known, tap, vault

CIPHERS = ("aes-256-gcm", "aes-256-xts")
PROGRAM_TIMEOUT_S = 600


def main() -> int:
    """Returns the exit code: 0 if nothing failed but what is known."""
    parser = argparse.ArgumentParser(prog="scripts/pjdfstest", description=__doc__)
    parser.add_argument("build", type=Path, help="pjdfstest's directory, with the program built in it")
    parser.add_argument(
        "--on", type=Path, default=Path("/tmp"), help="where the ciphertext lies (%(default)s)"
    )
    parser.add_argument("--cipher", choices=CIPHERS, action="append", help="both, if not given")
    parser.add_argument("--only", default="", metavar="PART", help="test programs below this path, as rename")
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    if os.geteuid() != 0:
        parser.error("the suite changes users: it must run as root")
    if not os.access(build / "pjdfstest", os.X_OK):
        parser.error(f"{build} holds no built pjdfstest")
    programs = sorted((build / "tests" / arguments.only).rglob("*.t"))
    unknown = 0
    for cipher in arguments.cipher or CIPHERS:
        kind = vault.backing_kind(arguments.on)
        print(f"{cipher} on {kind}, Linux {os.uname().release}: {len(programs)} test programs", flush=True)
        with vault.mounted(arguments.on, cipher) as mountpoint:
            unknown += run(programs, build / "tests", mountpoint)
    return 1 if unknown else 0


def run(programs: list[Path], root: Path, mountpoint: Path) -> int:
    """Prints each failure and a summary; returns how many checks failed that are not known."""
    started, passed, failed, unknown = time.monotonic(), 0, 0, 0
    work = mountpoint / "work"
    work.mkdir(mode=0o755)
    for program in programs:
        name = str(program.relative_to(root))
        outcome = tap.read(output_of(program, work))
        passed += outcome.passed
        for number, said in outcome.failed.items():
            failed += 1
            is_known = number in known.PJDFSTEST.get(name, ())
            unknown += not is_known
            print(f"  {'known' if is_known else 'FAILED'} {name} {number}: {said[:200]}", flush=True)
        if outcome.planned is None or outcome.missing:
            failed += outcome.missing or 1
            unknown += outcome.missing or 1
            print(
                f"  FAILED {name}: {outcome.missing} of {outcome.planned} checks did not report", flush=True
            )
    print(
        f"  {passed} of {passed + failed} checks passed, {failed} failed ({failed - unknown} known),"
        f" in {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return unknown


def output_of(program: Path, work: Path) -> str:
    """What one test program prints."""
    try:
        done = subprocess.run(
            ["/bin/sh", str(program)], cwd=work, capture_output=True, timeout=PROGRAM_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as expired:
        return (expired.stdout or b"").decode(errors="replace")
    return done.stdout.decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())

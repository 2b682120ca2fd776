"""Prints every change of a mount's state, with the machine's clock.

usage: watch.py MOUNTPOINT

Asks the mount's daemon over its control socket as `phonevault status` does, fifty times a second, without the
start of an interpreter each time.
"""

from __future__ import annotations

import sys
import time

from phonevault.daemon.client import call
from phonevault.daemon.protocol import Request

INTERVAL_S = 0.02


def main() -> None:
    """Watch until ended."""
    last = ""
    while True:
        asked_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        state = call(sys.argv[1], Request("status"))["state"]
        if state != last:
            print(f"{asked_s:.3f} {state}", flush=True)
            last = state
        time.sleep(INTERVAL_S)


if __name__ == "__main__":
    main()

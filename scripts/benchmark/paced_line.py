"""A serial cable with a line rate, between two pseudo-terminals: they have a baud rate in their settings only, and pass bytes at once.

Run as ``paced_line.py BAUD LINK LINK``: each LINK becomes a symbolic link to one end. Each way, a byte arrives when a real line
with one start and one stop bit would have sent it, in pieces as a UART's FIFO hands them over.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import tty

BITS_OF_A_BYTE = 10
"""8N1: start bit, eight data bits, stop bit."""
PIECE_BYTES = 14
"""At so many bytes in its FIFO of 16 a UART 16550A usually interrupts."""


def arrival_s(free_s: float, now_s: float, count: int, baud: int) -> float:
    """When bytes that are to be sent at ``now_s`` have all arrived, on a line that is busy until ``free_s``."""
    return max(free_s, now_s) + count * BITS_OF_A_BYTE / baud


def carry(source: int, sink: int, baud: int) -> None:
    """One way, until nothing more can come."""
    free_s = 0.0
    while data := os.read(source, 4096):
        now_s = time.monotonic()
        for start in range(0, len(data), PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            free_s = arrival_s(free_s, now_s, len(piece), baud)
            time.sleep(max(0.0, free_s - time.monotonic()))
            os.write(sink, piece)


def main() -> None:
    """Make both ends and carry until the process is ended."""
    baud, links = int(sys.argv[1]), sys.argv[2:4]
    masters = []
    for link in links:
        master, slave = os.openpty()  # the slave stays open: nobody hangs up
        tty.setraw(slave)
        os.symlink(os.ttyname(slave), link)
        masters.append(master)
    threading.Thread(target=carry, args=(*masters, baud), daemon=True).start()
    print("ready", flush=True)
    carry(*reversed(masters), baud)


if __name__ == "__main__":
    main()

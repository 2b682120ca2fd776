"""A Bluetooth adapter of the kernel whose controller is at the other end of a virtio port.

usage: shim.py PORT

Opens /dev/vhci, makes it an adapter, and copies H4 in both directions, to the kernel one packet a write().
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from h4 import Packets

CREATE_PRIMARY = b"\xff\x00"
VENDOR = 0xFF
PACKET_BYTES = 4096


def to_kernel(port: int, vhci: int) -> None:
    """The controller's events and data."""
    packets = Packets()
    while data := os.read(port, PACKET_BYTES):
        for packet in packets.feed(data):
            os.write(vhci, packet)
    os._exit(0)  # the controller is gone


def to_controller(vhci: int, port: int) -> None:
    """The kernel's commands and data; a read gives one packet."""
    while packet := os.read(vhci, PACKET_BYTES):
        if packet[0] != VENDOR:  # the answer to CREATE_PRIMARY
            write_all(port, packet)


def write_all(descriptor: int, data: bytes) -> None:
    """Write a packet in as many pieces as it takes."""
    while data:
        data = data[os.write(descriptor, data) :]


def main() -> None:
    """Copy until one side is gone."""
    port = os.open(sys.argv[1], os.O_RDWR)
    vhci = os.open("/dev/vhci", os.O_RDWR)
    os.write(vhci, CREATE_PRIMARY)
    threading.Thread(target=to_kernel, args=(port, vhci), daemon=True).start()
    to_controller(vhci, port)


if __name__ == "__main__":
    main()

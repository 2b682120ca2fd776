"""The checks of the computer itself, in the order of the report."""

from __future__ import annotations

import functools

from phonevault.doctor import bluetooth, directories, fuse, limits, programs, sleep, swap
from phonevault.doctor.run import Check


def checks(bluetooth_needed: bool) -> list[Check]:
    """Return everything but the phones.

    Args:
        bluetooth_needed: A paired phone is reached through BlueZ.
    """
    return [
        Check("programs", programs.look),
        Check("fuse-device", fuse.look_device),
        Check("fusermount3", fuse.look_program),
        Check("allow-other", fuse.look_configuration),
        Check("fuse-mount", fuse.look_trial, 10.0),
        Check("limits", limits.look),
        Check("swap", swap.look),
        Check("sleep", sleep.look),
        Check("directories", directories.look),
        Check("bluez", functools.partial(bluetooth.look, bluetooth_needed), 10.0),
        Check("rfkill", functools.partial(bluetooth.look_switches, bluetooth_needed)),
    ]

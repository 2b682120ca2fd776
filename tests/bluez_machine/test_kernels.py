"""Which kernel the machine takes."""

from __future__ import annotations

import pytest
from bluez_machine.kernels import PANICS, Kernel, in_order, is_image, parse_madison

MADISON = """\
linux-image-6.1.0-47-amd64 |  6.1.170-3 | http://mirror bookworm/main amd64 Packages
linux-image-6.1.0-50-amd64 |  6.1.176-1 | http://mirror bookworm/main amd64 Packages
linux-image-6.1.0-50-amd64 |  6.1.176-1 | http://mirror bookworm-security/main amd64 Packages
linux-image-6.1.0-56-amd64 |  6.1.192-2 | http://mirror bookworm-security/main amd64 Packages
linux-image-6.12.9+deb12-amd64 | 6.12.9-1~deb12u1 | http://mirror bookworm-security/main amd64 Packages
linux-image-6.12.117+deb12-amd64 | 6.12.117-1~deb12u1 | http://mirror bookworm-security/main amd64 Packages
linux-image-6.12.111+deb12-amd64 | 6.12.111-1~deb12u1 | http://mirror bookworm-security/main amd64 Packages
"""


@pytest.mark.parametrize(
    ("name", "will_do"),
    [
        ("linux-image-6.1.0-50-amd64", True),
        ("linux-image-6.12.111+deb12-amd64", True),
        ("linux-image-6.12.48+deb13-amd64", True),
        ("linux-image-6.1.0-50-cloud-amd64", False),
        ("linux-image-6.1.0-50-rt-amd64", False),
        ("linux-image-6.1.0-50-amd64-unsigned", False),
        ("linux-image-6.1.0-50-amd64-dbg", False),
        ("linux-image-amd64", False),
        ("linux-image-6.1.0-50-arm64", False),
    ],
)
def test_images_that_will_do(name: str, will_do: bool) -> None:
    assert is_image(name) is will_do


def test_order() -> None:
    """Those seen working first, then the newest by number and not by letter; one that panics never."""
    order = [kernel.version for kernel in in_order(parse_madison(MADISON))]
    assert order == ["6.12.111-1~deb12u1", "6.1.176-1", "6.1.170-3", "6.12.117-1~deb12u1", "6.12.9-1~deb12u1"]


def test_each_package_is_listed_once() -> None:
    assert len(parse_madison(MADISON)) == 6


def test_nothing_is_left_if_only_one_that_panics_is_there() -> None:
    assert in_order([Kernel("linux-image-6.1.0-56-amd64", version) for version in PANICS]) == []


def test_an_answer_without_packages() -> None:
    assert parse_madison("") == []
    assert parse_madison("N: Unable to locate package\n") == []

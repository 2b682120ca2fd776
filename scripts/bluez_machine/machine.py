"""The machine itself: QEMU without hardware acceleration, the host's root below a file system in memory."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from demo_steps.programs import Program
from demo_steps.report import BrokenPromise
from demo_steps.world import World

from bluez_machine import initrd, packages
from bluez_machine.control import Control
from bluez_machine.kernels import Kernel

BOOT_S = 180.0
CONNECT_S = 30.0
ATTEMPTS = 3
AGENT = Path(__file__).resolve().parent / "guest" / "agent.py"
ROOT = Path(__file__).resolve().parents[2]
HOME = "/tmp/home"  # of the machine
PATHS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMAND_LINE = "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off random.trust_cpu=on"


class DoesNotBoot(Exception):
    """This kernel did not come up."""


class Machine:
    """A running machine with BlueZ in it; QEMU is a program of the world and ends with it."""

    def __init__(self, kernel: Kernel, console: Program, control: Control, took_s: float) -> None:
        self.kernel = kernel
        self.control = control
        self.boot_s = took_s
        self._console = console

    @property
    def release(self) -> str:
        """`uname -r` in it."""
        return self.control.release

    @property
    def console(self) -> str:
        """What the kernel and BlueZ say."""
        return self._console.screen

    def check_alive(self) -> None:
        """Raises BrokenPromise if the kernel has panicked or QEMU is gone."""
        if "Kernel panic" in self.console or not self._console.is_running:
            tail = "\n".join(self.console.splitlines()[-30:])
            raise BrokenPromise(f"the machine runs – but it is gone; its console says at last:\n{tail}")


def start(world: World, hci_socket: Path, kernel_version: str = "") -> Machine:
    """Start a machine whose Bluetooth controller is at a unix socket.

    Args:
        world: Ends it.
        hci_socket: A controller of the virtual radio.
        kernel_version: What the version of the kernel begins with; empty for the best there is.

    Raises:
        BrokenPromise: None of the first kernels boots.
        packages.Unavailable: A package cannot be had.
    """
    bluez = packages.bluez_tree()
    kernels = [kernel for kernel in packages.available_kernels() if kernel.version.startswith(kernel_version)]
    if not kernels:
        raise packages.Unavailable(f"apt offers no kernel {kernel_version} that is known to be usable")
    for kernel in kernels[:ATTEMPTS]:
        try:
            return _boot(world, hci_socket, kernel, bluez)
        except (DoesNotBoot, packages.Unavailable) as error:
            world.report.show(f"{kernel.package} {kernel.version}: {error}")
    raise BrokenPromise(f"one of {ATTEMPTS} kernels boots – but: none does")


def _boot(world: World, hci_socket: Path, kernel: Kernel, bluez: Path) -> Machine:
    tree = packages.kernel_tree(kernel)
    initrd_file = world.root / f"initrd-{kernel.version}"
    layers = {"kernel": tree, "bluez": bluez, "host": Path("/")}
    agent = shlex.join([sys.executable, str(AGENT)])
    initrd_file.write_bytes(initrd.build(packages.modules(tree), list(layers), agent, ROOT))
    socket_path = world.root / f"control-{kernel.version}"
    control = Control(socket_path, _environment())
    begun = time.monotonic()
    console = world.start(
        "the machine",
        *_qemu(packages.vmlinuz(tree), initrd_file, layers, socket_path, hci_socket),
        quiet=True,
    )
    try:
        control.accept(CONNECT_S)
        ready = control.wait_until_ready(BOOT_S)
    except TimeoutError:
        ready = False
    if not ready:
        control.close()
        console.stop()
        raise DoesNotBoot("; ".join(console.screen.strip().splitlines()[-3:]))
    return Machine(kernel, console, control, time.monotonic() - begun)


def _environment() -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}:{PATHS}",
        "HOME": HOME,
        "XDG_RUNTIME_DIR": f"{HOME}/run",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
        "TERM": "dumb",
    }


def _qemu(kernel: Path, initrd_file: Path, layers: Mapping[str, Path], control: Path, hci: Path) -> list[str]:
    """The command line. No network, no disk; the host's files can be read, none written."""
    # fmt: off
    exports = [
        word
        for tag, path in layers.items()
        for word in (
            "-fsdev", f"local,id={tag},path={path},security_model=none,readonly=on,multidevs=remap",
            "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
        )
    ]
    return [
        "qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "Nehalem",
        "-m", "1024", "-smp", "2", "-nodefaults", "-no-user-config", "-no-reboot",
        "-display", "none", "-serial", "stdio",
        "-kernel", str(kernel), "-initrd", str(initrd_file), "-append", COMMAND_LINE,
        *exports,
        "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=control,path={control}", "-device", "virtserialport,chardev=control,nr=1",
        "-chardev", f"socket,id=hci,path={hci}", "-device", "virtserialport,chardev=hci,nr=2",
    ]
    # fmt: on

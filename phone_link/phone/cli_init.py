"""`phonevault-phone init`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
BITS = ("2048", "3072", "4096")


def init_command(store: _Decorator, file: click.Path) -> click.Command:
    """Return the command; `store` decorates with the argument STORE, `file` is the type of file options."""

    @click.command()
    @store
    @click.option("--pin-file", type=file, help="File with the new PIN; without it the terminal asks.")
    @click.option(
        "--puk-file", type=file, help="New file for the PUK; without it the terminal shows it once."
    )
    @click.option("--bits", type=click.Choice(BITS), default="3072", show_default=True, help="RSA key size.")
    @click.option("--name", metavar="NAME", help="The phone's name; by default this machine's.")
    @click.option("--label", metavar="TEXT", default="phonevault", show_default=True, help="The key's label.")
    @click.option(
        "--policy",
        type=click.Choice(["ask", "session", "auto"]),
        default="ask",
        show_default=True,
        help="Ask for each use of the key, once a connection, or never.",
    )
    @click.option("--no-key", is_flag=True, help="Make no key now; pairing makes one.")
    def init(**options: Any) -> None:
        """Make a new store with a PIN, a PUK and an RSA key pair."""
        _init(**options)

    return init


def _init(
    store: Path,
    pin_file: Path | None,
    puk_file: Path | None,
    bits: str,
    name: str | None,
    label: str,
    policy: str,
    no_key: bool,
) -> None:
    import socket

    from phone_link.errors import ProtocolError
    from phone_link.pairing.names import checked_name
    from phone_link.phone import secret_input, setup
    from phone_link.phone.module import NewKey
    from phone_link.phone.pin import check_new_pin
    from phone_link.wipe import wipe

    try:
        shown_name = checked_name((socket.gethostname() or "phone")[:64] if name is None else name)
        checked_name(label)
    except ProtocolError as error:
        raise click.UsageError(str(error)) from None
    setup.check_place(store)
    pin = secret_input.new_pin(pin_file)
    check_new_pin(pin)
    key = None if no_key else NewKey(int(bits), label, policy=policy)
    with _PukFile(puk_file) as puk_output:
        made = setup.create_store(store, shown_name, pin, key=key)
        wipe(pin)
        puk_output.take(made.puk)
    click.echo(f"made {store} for the phone {shown_name}")
    if made.key is not None:
        import hashlib

        click.echo(f"RSA key, {bits} bits, SHA-256 {hashlib.sha256(made.key.public_der).hexdigest()}")
    _show_puk(made.puk, puk_file)
    wipe(made.puk)


class _PukFile:
    """The file of --puk-file: new, mode 0600, and gone again if the store could not be made."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> _PukFile:
        from phone_link.phone.errors import StoreExists

        if self._path is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                self._descriptor = os.open(self._path, flags, 0o600)
            except FileExistsError:
                raise StoreExists(f"{self._path} exists already", hint="name a new file") from None
        return self

    def take(self, puk: bytearray) -> None:
        if self._path is not None:
            os.write(self._descriptor, puk)
            os.write(self._descriptor, b"\n")
            os.fsync(self._descriptor)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._path is not None:
            os.close(self._descriptor)
            if kind is not None:
                os.unlink(self._path)


def _show_puk(puk: bytearray, puk_file: Path | None) -> None:
    from phone_link.phone.pin import grouped_puk

    if puk_file is not None:
        click.echo(f"the PUK is in {puk_file}: keep it away from the phone")
    elif sys.stdout.isatty():
        click.echo(f"PUK: {grouped_puk(puk)}")
        click.echo("Write it down. It unblocks the PIN and is not shown again.")
    else:
        click.echo("note: the PUK is shown on a terminal only; use --puk-file to have one", err=True)

"""`phonevault-phone service`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def service_command(store: _Decorator, file: click.Path) -> click.Command:
    """Return the command; `store` is the decorator of the argument STORE."""

    @click.command(short_help="Print a systemd user service that serves STORE.")
    @store
    @click.option(
        "--listen", "spec", required=True, metavar="SPEC", help="Where computers reach it, as for serve."
    )
    @click.option("--pin-file", type=file, help="File with the PIN; systemd reads it at each start.")
    def service(store: Path, spec: str, pin_file: Path | None) -> None:
        """Print a systemd user service that serves STORE without a terminal.

        Nobody is asked there, so it opens vaults without a question (`--approve auto`) and pairs with nobody.
        Without --pin-file the keys stay closed until a computer sends the PIN.
        """
        from phone_link.phone.service_unit import unit
        from phone_link.phone.store import Store
        from phone_link.transport.open import split_spec

        split_spec(spec, listening=True)
        Store(store).load()
        pin_path = None if pin_file is None else pin_file.absolute()
        click.echo(unit(_program(), store.absolute(), spec, pin_path), nl=False)

    return service


def _program() -> list[str]:
    """What runs this program, with an absolute path."""
    beside = Path(sys.argv[0]).absolute()
    if beside.name == "phonevault-phone" and beside.is_file():
        return [str(beside)]
    installed = shutil.which("phonevault-phone")
    return [installed] if installed else [sys.executable, "-m", "phone_link.phone.cli"]

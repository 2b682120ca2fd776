"""VAULT and `--header`: one value for a command, whichever of both the header is in."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from keyslots.place import Place

HELP = "The header is kept apart from VAULT, in FILE."


@dataclass(frozen=True)
class Given:
    """A vault as the user gave it.

    Attributes:
        text: VAULT as typed: what messages show.
        place: VAULT and its header, canonical.
    """

    text: str
    place: Place

    @property
    def path(self) -> Path:
        """VAULT, canonical."""
        return self.place.vault

    def __str__(self) -> str:
        return self.text


def given(vault: str, header_file: str | None) -> Given:
    """Return what was given; symbolic links are resolved, whether it is a vault is found out later."""
    from keyslots.place import MAIN, Place
    from phonevault.daemon.places import canonical_vault

    path, file = canonical_vault(vault), canonical_header(header_file)
    return Given(vault, Place(path, None if file == path / MAIN else file))


def canonical_header(header_file: str | None) -> Path | None:
    """The absolute path of a header that is kept apart."""
    return None if header_file is None else Path(os.path.realpath(header_file))


def vault_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument VAULT and `--header`; the command gets one `Given`, as `vault`."""

    @functools.wraps(command)
    def with_place(*, vault: str, header_file: str | None, **rest: Any) -> Any:
        return command(vault=given(vault, header_file), **rest)

    option = click.option("--header", "header_file", metavar="FILE", help=HELP)
    return click.argument("vault")(option(with_place))

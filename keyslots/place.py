"""Where the header of a vault is: in VAULT, or in a file of its own, kept apart (docs/format.md 1.7). No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MAIN = "phonevault.json"
BACKUP_SUFFIX = ".bak"
BACKUP = MAIN + BACKUP_SUFFIX
TREE = "tree"


@dataclass(frozen=True, slots=True)
class Place:
    """A vault, and where both copies of its header are.

    Attributes:
        vault: VAULT, which holds the tree.
        file: the header if it is kept apart from VAULT; its second copy lies beside it. None: both are in VAULT.
    """

    vault: Path
    file: Path | None = None

    @property
    def apart(self) -> bool:
        """Whether the header is kept apart from the vault."""
        return self.file is not None

    @property
    def directory(self) -> Path:
        """The directory of both copies: it is locked, and temporary files are made in it."""
        return self.vault if self.file is None else self.file.parent

    @property
    def main(self) -> str:
        """Name of the copy that counts."""
        return MAIN if self.file is None else self.file.name

    @property
    def backup(self) -> str:
        """Name of the second copy."""
        return self.main + BACKUP_SUFFIX

    @property
    def tree(self) -> Path:
        """The ciphertext of the root directory."""
        return self.vault / TREE

    @property
    def shown(self) -> str:
        """The header, for people."""
        return str(self.directory / self.main)


Where = Place | Path
"""A path alone is a vault that holds its header."""


def place_of(where: Where) -> Place:
    """Return the place that is meant."""
    return where if isinstance(where, Place) else Place(where)

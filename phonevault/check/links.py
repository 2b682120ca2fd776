"""Symbolic links: targets in the links themselves, and long ones in sidecars (docs/format.md 3)."""

from __future__ import annotations

import os

from phonevault.check.findings import Code, Flaw
from phonevault.check.keys import CheckKeys
from phonevault.check.places import DIRECTORY_FLAGS
from phonevault.fs.errors import Damaged, LinkDamaged
from phonevault.fs.format import links
from phonevault.fs.format.layout import OVERHEAD_BYTES
from phonevault.fs.small_files import open_small

_SIDECAR_MAX_BYTES = links.TARGET_MAX_BYTES + OVERHEAD_BYTES


class LinkChecker:
    """Checks the links of one tree, and remembers which sidecars they need.

    Args:
        keys: of all live epochs.
        root_fd: open on the root's ciphertext.

    Attributes:
        complete: every link was seen and could be read, as far as is known; if not, no sidecar is known to be needless.
    """

    def __init__(self, keys: CheckKeys, root_fd: int) -> None:
        self._keys = keys
        self._needed: dict[str, int] = {}
        self.complete = True
        try:
            self._fd: int | None = os.open(links.DIRECTORY, DIRECTORY_FLAGS, dir_fd=root_fd)
        except OSError:
            self._fd = None

    def close(self) -> None:
        """At the end."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def check(self, text: str, inode: int) -> Flaw | None:
        """What is wrong with a link."""
        flaw = self.look(text)
        if flaw is None and links.is_long(text):
            first = self._needed.setdefault(links.parse(text).sidecar, inode)
            if first != inode:
                return Flaw(Code.LINK_COPIED, f"the other has inode {first}")
        return flaw

    def look(self, text: str) -> Flaw | None:
        """The same, without counting the link in."""
        try:
            if links.is_long(text):
                link = links.parse(text)
                self._keys.open_long_target(link, self._sidecar(link.sidecar))
            else:
                self._keys.open_target(text)
        except Damaged as error:
            return Flaw(Code.LINK_DAMAGED, error.strerror or "")
        return None

    def needless(self) -> list[str]:
        """Names in the folder of sidecars that no link needs.

        Raises:
            OSError: it cannot be listed.
        """
        if self._fd is None:
            return []
        return sorted(set(os.listdir(self._fd)) - self._needed.keys())

    def remove(self, sidecar: str) -> str:
        """Remove a needless sidecar.

        Raises:
            OSError: it cannot be removed.
        """
        assert self._fd is not None
        try:
            os.unlink(sidecar, dir_fd=self._fd)
        except IsADirectoryError:
            os.rmdir(sidecar, dir_fd=self._fd)  # never with anything in it
        return "removed"

    def _sidecar(self, name: str) -> bytes:
        if self._fd is None:
            raise LinkDamaged("there is no folder of long links' targets")
        try:
            fd = open_small(name, self._fd)
        except FileNotFoundError:
            raise LinkDamaged("its sidecar is missing") from None
        except Damaged:
            raise LinkDamaged("its sidecar is no regular file") from None
        except OSError as error:
            raise LinkDamaged(f"its sidecar: {os.strerror(error.errno or 0)}") from None
        try:
            return os.pread(fd, _SIDECAR_MAX_BYTES + 1, 0)
        except OSError as error:
            raise LinkDamaged(f"its sidecar: {os.strerror(error.errno or 0)}") from None
        finally:
            os.close(fd)

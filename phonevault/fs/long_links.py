"""Symbolic links whose encrypted target does not fit into a link's text: the sidecars that hold it (docs/format.md 3).

A sidecar is there, durably, before its link is made, and goes after the link's last name: a crash leaves at most a sidecar too many.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from phonevault.fs.errors import LinkDamaged
from phonevault.fs.format import links
from phonevault.fs.format.layout import OVERHEAD_BYTES
from phonevault.fs.format.links import LongLink
from phonevault.fs.keys import TreeKeys
from phonevault.fs.nodes import Node, PathHandle
from phonevault.fs.small_files import make_directory, open_small, put_durably

_DIRECTORY = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_SIDECAR_MAX_BYTES = links.TARGET_MAX_BYTES + OVERHEAD_BYTES


class LongLinks:
    """The sidecars of one tree.

    Args:
        root: gives a descriptor of the root directory's ciphertext.
    """

    def __init__(self, root: Callable[[], PathHandle]) -> None:
        self._root = root
        self._kept: WeakKeyDictionary[Node, PathHandle] = WeakKeyDictionary()

    @contextmanager
    def sealed(self, keys: TreeKeys, target: bytes) -> Iterator[str]:
        """The text for a link that the body makes; if the body fails, a sidecar without a link goes again.

        Raises:
            OSError: ENAMETOOLONG, or of the backing store.
        """
        if len(target) <= links.SHORT_MAX_BYTES:
            yield keys.seal_target(target)
            return
        if len(target) > links.TARGET_MAX_BYTES:
            raise OSError(errno.ENAMETOOLONG, "no target of a link is that long")
        link = LongLink.new(target)
        with self._directory(make=True) as fd:
            sidecar = keys.seal_long_target(link, target)
            try:
                # Replaces nothing: its id is random.
                put_durably(link.sidecar, sidecar, fd, replace=True, like=os.fstat(fd))
                yield link.text
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(link.sidecar, dir_fd=fd)
                raise

    def read(self, keys: TreeKeys, node: Node, text: str) -> bytes:
        """The target behind a link's text.

        Raises:
            LinkDamaged: the text or the sidecar is damaged, or the sidecar is missing or another link's.
            OSError: of the backing store.
        """
        link = links.parse(text)
        handle = self._kept.get(node) or self._sidecar(link)
        return keys.open_long_target(link, os.pread(handle.fd, _SIDECAR_MAX_BYTES + 1, 0))

    def shown(self, status: os.stat_result, read_text: Callable[[], str]) -> os.stat_result:
        """Status of a link that may have a long target, as if its whole target were sealed into its text."""
        try:
            size = links.parse(read_text()).size
        except (LinkDamaged, FileNotFoundError):
            return status
        more = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        return os.stat_result([*status[:6], links.text_chars(size), *status[7:10]], more)

    def unlinked(self, pin: PathHandle, node: Node | None) -> None:
        """A name of a link that may have a long target is gone: if that was the last one, its sidecar goes.

        A failure leaves a sidecar too many.

        Args:
            pin: the link.
            node: what the kernel knows it by; a program that holds the link can still ask for the target.
        """
        with contextlib.suppress(OSError):
            if os.fstat(pin.fd).st_nlink:
                return
            link = links.parse(os.readlink("", dir_fd=pin.fd))
            if node is not None:
                self._kept[node] = self._sidecar(link)
            with self._directory() as fd:
                os.unlink(link.sidecar, dir_fd=fd)

    def _sidecar(self, link: LongLink) -> PathHandle:
        try:
            with self._directory() as fd:
                return PathHandle(open_small(link.sidecar, fd))
        except FileNotFoundError:
            raise LinkDamaged("a symbolic link's sidecar is missing") from None

    @contextmanager
    def _directory(self, *, make: bool = False) -> Iterator[int]:
        """A descriptor of the directory of sidecars.

        Raises:
            LinkDamaged: it is no directory.
            OSError: ENOENT, … of the backing store.
        """
        root = self._root()
        try:
            fd = self._open(root.fd, make=make)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise LinkDamaged("the directory of long links is not one") from None
            raise
        try:
            yield fd
        finally:
            os.close(fd)

    def _open(self, root_fd: int, *, make: bool) -> int:
        try:
            return os.open(links.DIRECTORY, _DIRECTORY, dir_fd=root_fd)
        except FileNotFoundError:
            if not make:
                raise
        with contextlib.suppress(FileExistsError):
            make_directory(links.DIRECTORY, root_fd)
        return os.open(links.DIRECTORY, _DIRECTORY, dir_fd=root_fd)

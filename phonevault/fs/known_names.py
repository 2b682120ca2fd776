"""Names that were encrypted or decrypted lately: what is removed was mostly listed, and what is listed was often looked up. No I/O."""

from __future__ import annotations

_GENERATION = 4096
"""Names in a generation. There are two of them; a directory that is asked for stays in the younger one."""


class DirectoryNames:
    """Those of one directory.

    Attributes:
        encoded: by plaintext name.
        plain: by encoded name; not all of them.
    """

    __slots__ = ("encoded", "plain")

    def __init__(self) -> None:
        self.encoded: dict[bytes, str] = {}
        self.plain: dict[str, bytes] = {}


class KnownNames:
    """The names of one key, as far as they are remembered.

    Both ways are functions of the key, the directory's id and the name, so that nothing that happens to the tree makes them wrong.
    """

    __slots__ = ("_count", "_older", "_recent")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Drop all."""
        self._recent: dict[bytes, DirectoryNames] = {}
        self._older: dict[bytes, DirectoryNames] = {}
        self._count = 0

    def of(self, directory_id: bytes) -> DirectoryNames:
        """What is remembered of a directory; more is added by :meth:`note` and :meth:`listed`."""
        known = self._recent.get(directory_id)
        if known is None:
            known = self._older.pop(directory_id, None)
            if known is None or len(known.encoded) > _GENERATION // 2:
                known = DirectoryNames()
            self._recent[directory_id] = known
            self._counted(len(known.encoded))
        return known

    def note(self, known: DirectoryNames, name: bytes, encoded: str) -> None:
        """Remember a name that was looked up: it may be listed, made or removed next."""
        known.plain[encoded] = name
        self.listed(known, name, encoded)

    def listed(self, known: DirectoryNames, name: bytes, encoded: str) -> None:
        """Remember a name that was listed, one way only: the kernel keeps listings, and may remove the entry next."""
        known.encoded[name] = encoded
        self._counted(1)

    def _counted(self, more: int) -> None:
        self._count += more
        if self._count > _GENERATION:
            self._older, self._recent, self._count = self._recent, {}, 0

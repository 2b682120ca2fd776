"""Findings of one walk: mended where that is possible and wanted, counted, reported."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from phonevault.check.findings import Code, Counts, Finding, Flaw
from phonevault.check.links import LinkChecker
from phonevault.check.places import Place
from phonevault.check.repair import Repair

DENIED = (errno.EACCES, errno.EPERM)
_INCOMPLETE = (Code.NOT_CHECKED, Code.READ_ERROR, Code.LINK_DAMAGED, Code.DIRECTORY_REPEATED)
_GONE = (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.ESTALE)


class Telling:
    """Tells what a walk finds.

    Args:
        report: told of each finding as it is made.
        counts: what was found so far; it grows.
        links: told when something could not be read that may have been a link.
        repair: mends, or None.
    """

    def __init__(
        self, report: Callable[[Finding], None], counts: Counts, links: LinkChecker, repair: Repair | None
    ) -> None:
        self._report, self._counts = report, counts
        self._links, self._repair = links, repair

    def tell(
        self, place: Place, flaw: Flaw, mend: Callable[[], str] | None = None, *, only_failure: bool = False
    ) -> None:
        """Report a flaw, after mending it if that is possible and wanted."""
        path, stored = place.path, place.stored_path
        repaired = failed = ""
        if mend is not None and self._repair is not None:
            try:
                repaired = mend()
            except OSError as error:
                failed = error.strerror or str(error)
        if only_failure and not failed:
            return
        self._links.complete &= flaw.code not in _INCOMPLETE
        finding = Finding(flaw.code, path, stored, flaw.detail, repaired, failed)
        self._counts.count(finding)
        self._report(finding)

    def failed(self, place: Place, error: OSError) -> None:
        """An object cannot be read: gone meanwhile, not permitted, or an error of the disk."""
        self._links.complete = False
        if error.errno in _GONE:
            return
        code = Code.NOT_CHECKED if error.errno in DENIED else Code.READ_ERROR
        self.tell(place, Flaw(code, os.strerror(error.errno or errno.EIO)))

    def removed_unread(self, place: Place) -> bool:
        """Whether a repair could remove a leftover directory that cannot be read: then it was empty. Told if so."""
        if self._repair is None or not self._repair.remove_empty(place):
            return False
        self.tell(place, Flaw(Code.LEFTOVER), lambda: "removed")
        return True

    @property
    def mending(self) -> Repair:
        """What mends; only for what `tell` calls."""
        assert self._repair is not None
        return self._repair

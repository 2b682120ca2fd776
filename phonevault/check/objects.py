"""What a walk does with an object that is no directory: its attributes, contents and link target; and the targets of long links."""

from __future__ import annotations

import errno
import os
import stat
from functools import partial

from phonevault.check.contents import ContentChecker
from phonevault.check.findings import Code, Counts, Flaw
from phonevault.check.links import LinkChecker
from phonevault.check.names import Role, role_of
from phonevault.check.places import Descriptors, Directory, Place
from phonevault.check.telling import Telling
from phonevault.check.xattrs import XattrChecker
from phonevault.fs.format import links

FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Objects:
    """Checks objects of one tree; one with several names once.

    Args:
        root: of the tree.
        descriptors: of the walk.
        telling: told of what is wrong.
        counts: of objects; they grow.
        contents: looks at contents.
        links: looks at link targets.
        xattrs: looks at extended attributes.
    """

    def __init__(
        self,
        root: Directory,
        descriptors: Descriptors,
        telling: Telling,
        counts: Counts,
        contents: ContentChecker,
        links: LinkChecker,
        xattrs: XattrChecker,
    ) -> None:
        self._root, self._descriptors = root, descriptors
        self._telling, self._counts = telling, counts
        self._contents, self._links, self._xattrs = contents, links, xattrs
        self._file_ids: dict[bytes, int] = {}
        self._seen: set[tuple[int, int]] = set()

    def check(self, place: Place, status: os.stat_result) -> None:
        """Anything but a directory."""
        kind = stat.S_IFMT(status.st_mode)
        first = self._first_time(status)
        if first:
            self.attributes(place)
        if kind == stat.S_IFREG:
            self._counts.files += 1
            if first and status.st_size:
                self._file(place)
        elif kind == stat.S_IFLNK:
            self._counts.links += 1
            if first:
                self._link(place, status)
        else:
            self._counts.others += 1

    def attributes(self, place: Place) -> None:
        """The extended attributes of any object."""
        flaw = self._xattrs.check(place.stored, self._descriptors.fd(place.directory))
        if flaw is not None:
            self._telling.tell(place, flaw)

    def _file(self, place: Place) -> None:
        try:
            fd = _open_file(place.stored, self._descriptors.fd(place.directory))
        except OSError as error:
            self._telling.failed(place, error)
            return
        try:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode):
                self._check_contents(place, fd, status)
        except OSError as error:
            self._telling.failed(place, error)
        finally:
            os.close(fd)

    def _link(self, place: Place, status: os.stat_result) -> None:
        try:
            text = os.readlink(place.stored, dir_fd=self._descriptors.fd(place.directory))
            flaw = self._links.check(text, status.st_ino)
            if flaw is not None:
                self._telling.tell(place, flaw)
        except OSError as error:
            if error.errno != errno.EINVAL:  # it is no link any more
                self._telling.failed(place, error)

    def _first_time(self, status: os.stat_result) -> bool:
        """Whether a file was not met under another of its names."""
        if status.st_nlink == 1:
            return True
        key = (status.st_dev, status.st_ino)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def _check_contents(self, place: Place, fd: int, status: os.stat_result) -> None:
        checked = self._contents.check(fd, status)
        for flaw in checked.flaws:
            self._telling.tell(place, flaw)
        if checked.file_id is not None:
            first = self._file_ids.setdefault(checked.file_id, status.st_ino)
            if first != status.st_ino:
                self._telling.tell(place, Flaw(Code.FILE_COPIED, f"the other has inode {first}"))

    # -- the folder of long links' targets ------------------------------------------------------------------

    def folder_of_links(self, place: Place, status: os.stat_result) -> bool:
        """The folder of long links' targets, in the root; what is not a folder there goes, so that one can be made."""
        if not stat.S_ISDIR(status.st_mode):

            def move() -> str:
                return "now " + self._telling.mending.move(place).path.decode("utf-8", "replace")

            self._telling.tell(place, Flaw(Code.LINK_TARGETS_GONE), move)
        return True

    def sidecars_of_links(self) -> None:
        """Once every link was seen: which sidecars are needed by none."""
        complete = self._links.complete
        folder = Directory(self._root, links.DIRECTORY, None, (0, 0))
        for name in self._links.needless():
            place = Place(folder, name, None)
            if role_of(name) is Role.TEMPORARY:
                self._telling.tell(place, Flaw(Code.LEFTOVER), partial(self._links.remove, name))
            elif not links.is_sidecar(name):
                self._telling.tell(place, Flaw(Code.FOREIGN))
            elif complete:
                self._telling.tell(place, Flaw(Code.LINK_TARGET_ORPHAN), partial(self._links.remove, name))
            else:
                self._telling.tell(place, Flaw(Code.LINK_TARGET_ORPHAN, "not every link could be read"))


def _open_file(stored: str, directory_fd: int) -> int:
    """Open a file for reading; its time of access stays as it was, where that is allowed."""
    try:
        return os.open(stored, FILE_FLAGS | os.O_NOATIME, dir_fd=directory_fd)
    except PermissionError:
        return os.open(stored, FILE_FLAGS, dir_fd=directory_fd)

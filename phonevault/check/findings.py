"""What a check can find: codes, what they mean, how grave they are, what to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

UNKNOWN_NAME = b"?"
"""Stands in a plaintext path for a name that does not decrypt."""


class Severity(StrEnum):
    """How grave a finding is."""

    NOTE = "note"
    """What an interruption leaves, or what is none of the vault's: nothing is lost."""
    PROBLEM = "problem"
    """Damage, or a change that was not made through a mount."""


class Code(StrEnum):
    """Every kind of finding. The strings are stable (docs/check.md)."""

    HEADER_COPY_MISSING = "header-copy-missing"
    HEADER_COPY_DAMAGED = "header-copy-damaged"
    HEADER_COPIES_DIFFER = "header-copies-differ"
    HEADER_COPY_OLD = "header-copy-old"
    JOURNAL_PENDING = "journal-pending"
    JOURNAL_USELESS = "journal-useless"
    JOURNAL_FOREIGN = "journal-foreign"
    JOURNAL_FAILED = "journal-failed"
    ROTATION_PENDING = "rotation-pending"
    ROTATION_UNDER_WAY = "rotation-under-way"
    ROTATION_FAILED = "rotation-failed"
    ROTATION_LEFTOVER = "rotation-leftover"
    DIRECTORY_ID_MISSING = "directory-id-missing"
    DIRECTORY_ID_DAMAGED = "directory-id-damaged"
    DIRECTORY_ID_COPIED = "directory-id-copied"
    DIRECTORY_REPEATED = "directory-repeated"
    NAME_DAMAGED = "name-damaged"
    LONG_NAME_MISSING = "long-name-missing"
    LONG_NAME_DAMAGED = "long-name-damaged"
    LONG_NAME_ORPHAN = "long-name-orphan"
    LINK_DAMAGED = "link-damaged"
    LINK_COPIED = "link-copied"
    LINK_TARGET_ORPHAN = "link-target-orphan"
    LINK_TARGETS_GONE = "link-targets-gone"
    XATTR_DAMAGED = "xattr-damaged"
    FILE_HEADER_ALONE = "file-header-alone"
    FILE_HEADER_DAMAGED = "file-header-damaged"
    FILE_CIPHER_OTHER = "file-cipher-other"
    FILE_EPOCH_GONE = "file-epoch-gone"
    FILE_KEY_DAMAGED = "file-key-damaged"
    FILE_COPIED = "file-copied"
    FILE_LENGTH_TORN = "file-length-torn"
    FILE_CUT = "file-cut"
    FILE_END_DAMAGED = "file-end-damaged"
    BLOCK_DAMAGED = "block-damaged"
    BLOCK_ZEROED = "block-zeroed"
    READ_ERROR = "read-error"
    LEFTOVER = "leftover"
    LEFTOVER_FULL = "leftover-full"
    FOREIGN = "foreign"
    NOT_CHECKED = "not-checked"


@dataclass(frozen=True)
class Kind:
    """What is known of every finding with one code.

    Attributes:
        severity: of it.
        what: one sentence.
        advice: what to do where `--repair` does nothing about it, or before it does.
        repair: what `--repair` does; "" if nothing.
    """

    severity: Severity
    what: str
    advice: str
    repair: str = ""


_NOTE, _PROBLEM = Severity.NOTE, Severity.PROBLEM
_RESTORE = "what can be read of it, read through a mount; then put it back from a backup"
_LOST_FOUND = "moved into the folder lost+found under a new name"

KINDS: dict[Code, Kind] = {
    Code.HEADER_COPY_MISSING: Kind(
        _PROBLEM, "a copy of the header is missing", "repair it", "written anew from the sound copy"
    ),
    Code.HEADER_COPY_DAMAGED: Kind(
        _PROBLEM, "a copy of the header is damaged", "repair it", "written anew from the sound copy"
    ),
    Code.HEADER_COPIES_DIFFER: Kind(
        _NOTE,
        "the two copies of the header differ, as an interrupted change leaves them",
        "phonevault.json counts",
        "the second copy is made equal to phonevault.json",
    ),
    Code.HEADER_COPY_OLD: Kind(
        _PROBLEM,
        "the two copies of the header are further apart than an interrupted change leaves them: one was put back",
        "phonevault.json counts; if it is the right one, remove the second copy and repair",
    ),
    Code.JOURNAL_PENDING: Kind(
        _NOTE,
        "a mount was killed in the middle of a write: what it left half done can look like damage below",
        "mount it once, or repair: what was replaced is put back",
        "put back",
    ),
    Code.JOURNAL_USELESS: Kind(
        _NOTE,
        "the journal of an earlier run of this machine, a copy, or damaged",
        "none is needed",
        "removed",
    ),
    Code.JOURNAL_FOREIGN: Kind(
        _NOTE,
        "the journal of another machine: it is mounted there, or was killed there",
        "mount it there once, or remove the journal if that machine is gone",
    ),
    Code.JOURNAL_FAILED: Kind(
        _PROBLEM,
        "the journal of a mount that was killed cannot be worked off",
        "see that the vault's file system is writable and has room, then repair again",
    ),
    Code.ROTATION_PENDING: Kind(
        _NOTE,
        "a rotation of contents was cut short in the middle of a step: what it left half done can look like damage below",
        "mount it once, go on with `phonevault rotate content`, or repair: what was replaced is put back",
        "put back",
    ),
    Code.ROTATION_UNDER_WAY: Kind(
        _NOTE,
        "a rotation of contents was interrupted: what it has not come to is under the older volume keys",
        "go on with it: `phonevault rotate content`",
    ),
    Code.ROTATION_FAILED: Kind(
        _PROBLEM,
        "what a rotation of contents left half done cannot be put back",
        "see that the vault's file system is writable and has room, then repair again",
    ),
    Code.ROTATION_LEFTOVER: Kind(
        _NOTE, "left by a rotation of contents that is done", "none is needed", "removed"
    ),
    Code.DIRECTORY_ID_MISSING: Kind(
        _PROBLEM,
        "a directory has no id: the names in it cannot be known",
        "put its phonevault.dirid back from a backup, which brings the names back; else repair",
        "moved into lost+found with new names inside; the root stays and its entries are moved",
    ),
    Code.DIRECTORY_ID_DAMAGED: Kind(
        _PROBLEM,
        "a directory's id does not open: the names in it cannot be known",
        "put its phonevault.dirid back from a backup, which brings the names back; else repair",
        "moved into lost+found with new names inside; the root stays and its entries are moved",
    ),
    Code.DIRECTORY_ID_COPIED: Kind(
        _PROBLEM,
        "two directories have the same id: one is a copy made outside of a mount",
        "look at both through a mount, copy what you want to keep to a new folder there, remove the rest",
        "an empty one gets a new id; others stay as they are",
    ),
    Code.DIRECTORY_REPEATED: Kind(
        _PROBLEM, "a directory is found a second time (a bind mount?)", "unmount what is mounted there"
    ),
    Code.NAME_DAMAGED: Kind(
        _PROBLEM,
        "a name does not decrypt: it was damaged, or the object was moved or renamed outside of a mount",
        "if you know where it belongs, put it back there; else repair",
        _LOST_FOUND,
    ),
    Code.LONG_NAME_MISSING: Kind(
        _PROBLEM,
        "the file with a long name's text is missing",
        "put the file NAME.name back from a backup; else repair",
        _LOST_FOUND,
    ),
    Code.LONG_NAME_DAMAGED: Kind(
        _PROBLEM,
        "the file with a long name's text is not the one of this entry, or is damaged",
        "put the file NAME.name back from a backup; else repair",
        _LOST_FOUND,
    ),
    Code.LONG_NAME_ORPHAN: Kind(
        _NOTE, "the text of a long name whose entry does not exist", "none is needed", "removed"
    ),
    Code.LINK_DAMAGED: Kind(
        _PROBLEM, "a symbolic link's target does not decrypt", "make the link anew through a mount"
    ),
    Code.LINK_COPIED: Kind(
        _PROBLEM,
        "two symbolic links share one sidecar: one is a copy made outside of a mount",
        "make both anew through a mount: when one is removed, the other's target goes",
    ),
    Code.LINK_TARGET_ORPHAN: Kind(
        _NOTE,
        "the target of a long symbolic link that does not exist",
        "none is needed",
        "removed, if every link could be read",
    ),
    Code.LINK_TARGETS_GONE: Kind(
        _PROBLEM,
        "what should be the folder of long symbolic links' targets is none",
        "put the folder phonevault.links back from a backup; else repair",
        _LOST_FOUND,
    ),
    Code.XATTR_DAMAGED: Kind(
        _PROBLEM,
        "extended attributes do not open: they read as an error, or are not listed",
        "set them anew through a mount; an access control list: setfacl -b, then anew",
    ),
    Code.FILE_HEADER_ALONE: Kind(
        _NOTE, "a file has a header and no contents: its first write was interrupted", "it reads as empty"
    ),
    Code.FILE_HEADER_DAMAGED: Kind(
        _PROBLEM,
        "a file's header is damaged: nothing of the file can be read",
        "put its first 128 bytes, or all of it, back from a backup",
    ),
    Code.FILE_CIPHER_OTHER: Kind(
        _PROBLEM,
        "a file's header names another cipher or block size than the vault's",
        "put it back from a backup of this vault",
    ),
    Code.FILE_EPOCH_GONE: Kind(
        _PROBLEM,
        "a file's key is wrapped with a volume key that the vault does not have any more",
        "put it back from a backup of this vault, or open it with an old header",
    ),
    Code.FILE_KEY_DAMAGED: Kind(
        _PROBLEM,
        "a file's key does not unwrap: its header is damaged, or it belongs to another vault",
        "put its first 128 bytes, or all of it, back from a backup",
    ),
    Code.FILE_COPIED: Kind(
        _PROBLEM,
        "two files have the same id: one is a copy made outside of a mount",
        "look at both through a mount, remove the one you do not want; a copy made there has an id of its own",
    ),
    Code.FILE_LENGTH_TORN: Kind(
        _PROBLEM, "a file has a length that no whole write gives: it was cut inside a block", _RESTORE
    ),
    Code.FILE_CUT: Kind(_PROBLEM, "a file was cut: its last block was not the last one", _RESTORE),
    Code.FILE_END_DAMAGED: Kind(_PROBLEM, "the filler at the end of a file is not zeros", _RESTORE),
    Code.BLOCK_DAMAGED: Kind(
        _PROBLEM, "blocks of a file do not open: they read as an error, the others as ever", _RESTORE
    ),
    Code.BLOCK_ZEROED: Kind(
        _PROBLEM, "blocks of a file that has no holes are zero: lost by the disk or the server", _RESTORE
    ),
    Code.READ_ERROR: Kind(
        _PROBLEM, "the system cannot read it", "look at the disk's state; copy what can be read elsewhere"
    ),
    Code.LEFTOVER: Kind(_NOTE, "left by an interrupted change", "none is needed", "removed"),
    Code.LEFTOVER_FULL: Kind(
        _PROBLEM, "something with a temporary name has contents", "repair it", _LOST_FOUND
    ),
    Code.FOREIGN: Kind(
        _NOTE, "no part of the vault, not shown by a mount and never touched", "remove it if it is not yours"
    ),
    Code.NOT_CHECKED: Kind(
        _NOTE, "not checked: permission denied", "run the check as the owner of the files, or as root"
    ),
}


@dataclass(frozen=True)
class Flaw:
    """A finding without a place, as a check of one object makes it.

    Attributes:
        code: what it is.
        detail: which, how many; "" if the code says all.
    """

    code: Code
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """Something found.

    Attributes:
        code: what it is.
        path: plaintext path inside the mount, `UNKNOWN_NAME` for what does not decrypt; None outside of the tree.
        stored: path of the ciphertext below VAULT, surrogateescaped.
        detail: which, how many; "" if the code says all.
        repaired: what was done about it; "" if nothing.
        failed: why the repair did not succeed; "" if it did or none was tried.
    """

    code: Code
    path: bytes | None
    stored: str
    detail: str = ""
    repaired: str = ""
    failed: str = ""

    @property
    def kind(self) -> Kind:
        """What is known of it by its code."""
        return KINDS[self.code]

    @property
    def severity(self) -> Severity:
        """How grave it is."""
        return self.kind.severity


@dataclass
class Counts:
    """What was looked at, and what was found. Grows while a check runs.

    Attributes:
        files: names of regular files.
        directories: directories, the root included.
        links: symbolic links.
        others: fifos, sockets, devices.
        bytes_read: ciphertext of regular files.
        notes: findings of that severity.
        problems: findings of that severity.
        problems_left: problems that were not repaired.
        repaired: findings that were repaired.
    """

    files: int = 0
    directories: int = 0
    links: int = 0
    others: int = 0
    bytes_read: int = 0
    notes: int = 0
    problems: int = 0
    problems_left: int = 0
    repaired: int = 0

    def count(self, finding: Finding) -> None:
        """Add a finding."""
        self.repaired += bool(finding.repaired)
        if finding.severity is Severity.NOTE:
            self.notes += 1
        else:
            self.problems += 1
            self.problems_left += not finding.repaired

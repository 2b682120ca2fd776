"""The kinds of rotation there are, as whoever runs one sees them: in a command, or in a mount daemon beside the users of the tree.

A kind says in the header, under its MAC, that it is under way; so whoever opens the vault next can go on with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from keyslots.header import Header
from keyslots.place import Place
from keyslots.secret import Secret

if TYPE_CHECKING:
    from phonevault.fs.filesystem import EncryptedFileSystem
    from phonevault.vault import OpenedVault


class Progress(Protocol):
    """How far a run is: a dataclass. What else it has, numbers only, is shown by `status --json` as well.

    Attributes:
        total: files there are, 0 as long as that is not known.
        seen: files of them that were looked at.
        damaged: files that could not be changed.
        seconds: time worked, pauses left out.
    """

    total: int
    seen: int
    damaged: int
    seconds: float


class Run(Protocol):
    """One run over a tree. All but `run` may be called from other threads at any moment.

    Attributes:
        duty: share of the time that is worked, above 0, at most 1; may be set at any moment.
    """

    duty: float

    @property
    def progress(self) -> Any:
        """A `Progress`, which goes on changing."""

    @property
    def paused(self) -> bool:
        """Whether it rests."""

    def stop(self) -> None:
        """End `run` soon: the lock of a folder waits for it. No key may be used after `run` has returned."""

    def pause(self) -> None:
        """Rest until `resume`, holding no lock."""

    def resume(self) -> None:
        """Go on."""

    def run(self, finish: Callable[[], None]) -> bool:
        """Do it; it may be called again on the same object.

        Args:
            finish: the kind's, bound to vault and keys. Called at the end, while no request of the tree can be in between.

        Returns:
            False if it was stopped, or if damaged files kept it from ending.

        Raises:
            OSError: of the backing store, or the tree was locked.
            KeyslotsError: what ``finish`` raised.
        """


@dataclass(frozen=True)
class Kind:
    """One kind of rotation.

    Attributes:
        name: as in `phonevault rotate NAME`.
        unit: what is counted, in the plural.
        is_under_way: whether a header says so.
        begin: changes the header of an opened vault, saved, unless it is under way; returns it with all live volume keys, the opened
            vault's and new ones for the caller to wipe.
        adopt: gives an unlocked file system in use what was begun, so that what is made from now on needs no work.
        run: the run over an unlocked file system, at some duty.
        finish: takes what is no longer needed out of the header; the vault and where its header is, the header as begun (other
            commands may have changed its slots since), all live volume keys.
    """

    name: str
    unit: str
    is_under_way: Callable[[Header], bool]
    begin: Callable[[OpenedVault], tuple[Header, dict[int, Secret]]]
    adopt: Callable[[EncryptedFileSystem, Header, Mapping[int, Secret]], None]
    run: Callable[[EncryptedFileSystem, Header, float], Run]
    finish: Callable[[Place, Header, Mapping[int, Secret]], Header]


def _adopt_master(filesystem: EncryptedFileSystem, header: Header, vmks: Mapping[int, Secret]) -> None:
    for epoch in header.epochs.live:
        if epoch > filesystem.epoch:
            filesystem.adopt_epoch(epoch, vmks[epoch])


def _run_master(filesystem: EncryptedFileSystem, header: Header, duty: float) -> Run:
    from keyslots.epochs import needed_epochs

    return filesystem.rewrap(needed_epochs(header), duty)


def _adopt_content(filesystem: EncryptedFileSystem, header: Header, vmks: Mapping[int, Secret]) -> None:
    filesystem.adopt_contents(header.epochs.current, vmks, header.epochs.names)


def _kinds() -> tuple[Kind, ...]:
    from phonevault import content_rotation, rotation

    master = Kind(
        "master", "files", rotation.is_under_way, rotation.begin, _adopt_master, _run_master, rotation.finish
    )
    content = Kind(
        "content",
        "files",
        content_rotation.is_under_way,
        content_rotation.begin,
        _adopt_content,
        lambda filesystem, header, duty: filesystem.reencrypt(duty),
        content_rotation.finish,
    )
    return master, content


def digest_of(header: Header) -> str:
    """What names a header exactly: SHA-256 of its canonical form, hex."""
    return hashlib.sha256(header.encode()).hexdigest()


def kind_named(name: str) -> Kind:
    """The kind of that name.

    Raises:
        KeyError: there is none.
    """
    return {kind.name: kind for kind in _kinds()}[name]


def is_any_under_way(header: Header) -> bool:
    """Whether a header says that something is being rotated, by whatever can do it."""
    return header.rotates_contents or header.epochs.files != header.epochs.current


def kind_under_way(header: Header) -> Kind | None:
    """The rotation that a header says is under way: the first of the list whose sign it bears."""
    return next((kind for kind in _kinds() if kind.is_under_way(header)), None)

"""A whole vault: header, then tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from keyslots.derive import header_key
from keyslots.header import Header
from keyslots.memory import scrub_stack
from keyslots.place import Place
from keyslots.secret import Secret
from phonevault.check.findings import Counts, Finding
from phonevault.check.header import check_header
from phonevault.check.journal import check_journal
from phonevault.check.keys import CheckKeys
from phonevault.check.rotation import check_rotation
from phonevault.check.tree import Tree, TreeCheck


@dataclass(frozen=True)
class VaultCheck:
    """One check of a vault that was opened and locked.

    Attributes:
        place: VAULT, and where its header is.
        header: verified.
        vmks: volume master keys by epoch; the caller wipes them.
        tree_fd: open on VAULT/tree, locked: exclusively for a repair.
        report: told of each finding as it is made.
        repair: mend what can be mended without guessing.
        progress: called now and then.
        counts: what was looked at and found so far; it grows.
    """

    place: Place
    header: Header
    vmks: Mapping[int, Secret]
    tree_fd: int
    report: Callable[[Finding], None]
    repair: bool = False
    progress: Callable[[], None] = lambda: None
    counts: Counts = field(default_factory=Counts)

    def run(self) -> Counts:
        """Check it.

        Raises:
            HeaderBusy, HeaderUnreadable: the header's copies cannot be looked at.
            OSError: the root of the tree cannot be listed.
        """
        header = self.header
        with header_key(self.vmks[header.epochs.current], header.vault_id) as key:
            check_header(self.place, key, self._found, repair=self.repair)
        check_journal(self.place.vault, self._found, repair=self.repair)
        current = header.epochs.current if header.rotates_contents else None
        keys = CheckKeys(self.vmks, header.vault_id, header.epochs.names, current)
        try:
            check_rotation(self.place.vault, keys, self._found, repair=self.repair)
            tree = Tree(self.tree_fd, keys, header.cipher, header.block_size)
            TreeCheck(tree, self.report, repair=self.repair, counts=self.counts, progress=self.progress).run()
        finally:
            keys.wipe()
            scrub_stack()
        return self.counts

    def _found(self, finding: Finding) -> None:
        self.counts.count(finding)
        self.report(finding)

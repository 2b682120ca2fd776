"""The checker on a tree with the fixed test key of `mounted_tree_child`."""

from __future__ import annotations

import os
from pathlib import Path

from keyslots.secret import Secret
from phonevault.check.findings import Finding, Severity
from phonevault.check.keys import CheckKeys
from phonevault.check.tree import Tree, TreeCheck
from phonevault.fs.recovery import recover
from support.mounted_tree_child import BLOCK_SIZES, VAULT_ID


def check_keys() -> CheckKeys:
    with Secret.take(bytearray(range(32))) as vmk:
        return CheckKeys({1: vmk}, VAULT_ID, 1)


def check(tree: Path, cipher: str, *, repair: bool = False, keys: CheckKeys | None = None) -> list[Finding]:
    """Everything found in a ciphertext tree; `keys` are wiped, those of epoch 1 if omitted."""
    findings: list[Finding] = []
    keys = keys or check_keys()
    fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    try:
        walk = TreeCheck(Tree(fd, keys, cipher, BLOCK_SIZES[cipher]), findings.append, repair=repair)
        counts = walk.run()
    finally:
        os.close(fd)
        keys.wipe()
    assert counts.problems == sum(finding.severity is Severity.PROBLEM for finding in findings)
    return findings


def problems(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity is Severity.PROBLEM]


def assert_whole(tree: Path, cipher: str) -> None:
    """No problem, once the next mount would have put back what a killed one left; other leftovers are allowed."""
    recover(tree.parent / "journal", tree)
    found = problems(check(tree, cipher))
    assert not found, found


def assert_repair_settles(tree: Path, cipher: str) -> None:
    """A repair finds what a check finds, and leaves what it says that it leaves, and nothing else."""
    found, repaired = check(tree, cipher), check(tree, cipher, repair=True)
    assert {finding.code for finding in found} <= {finding.code for finding in repaired}
    left = sorted(finding.code for finding in repaired if not finding.repaired)
    assert sorted(finding.code for finding in check(tree, cipher)) == left

"""The lock on a vault's tree, for commands: who has it is told by the mount point."""

from __future__ import annotations

from pathlib import Path

from phonevault.errors import VaultInUse


def hold_or_say_where(vault: Path, *, shared: bool, hint: str | None = None) -> int:
    """Lock a vault's tree and return the descriptor that holds the lock.

    Args:
        vault: VAULT, canonical.
        shared: others may hold it shared too.
        hint: what to do if it is held; that of the error if omitted.

    Raises:
        VaultInUse: it is mounted, where if that is known.
    """
    from phonevault.daemon.client import find_mounts
    from phonevault.daemon.treelock import hold_tree

    try:
        return hold_tree(vault, shared=shared)
    except VaultInUse as error:
        places = [mount.mountpoint for mount in find_mounts() if mount.vault == str(vault) and mount.alive]
        where = f", at {places[0]}" if places else ""
        raise VaultInUse(f"{error}{where}", hint) from None

"""One vault is mounted once: a flock on VAULT/tree, held while the mount lives (docs/format.md 1.5)."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from phonevault.errors import VaultInUse

_NO_LOCKS = {errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""What flock(2) says on file systems that cannot lock a directory (NFS)."""


def hold_tree(vault: Path, *, shared: bool) -> int:
    """Lock a vault's tree and return the descriptor that holds the lock.

    Args:
        vault: VAULT.
        shared: Others that share may mount it too.

    Raises:
        VaultInUse: It is mounted already.
        OSError: The tree cannot be opened.
    """
    tree = vault / "tree"
    descriptor = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise VaultInUse(f"{vault} is mounted already") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            raise
    return descriptor

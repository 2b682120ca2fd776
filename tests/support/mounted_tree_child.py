"""Serves an encrypted tree below argv[1] under the cipher argv[2] with a fixed test key; further arguments are options.

Commands come on standard input.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from keyslots import labels
from keyslots.derive import derive
from keyslots.secret import Secret
from phonevault.fs.filesystem import EncryptedFileSystem
from phonevault.fs.format.dirid import FILE_NAME, new_directory_id, seal_directory_id
from phonevault.fs.recovery import recover
from phonevault.fuse.mount import MountOptions, mount, unmount
from phonevault.fuse.session import Session

sys.path.insert(0, str(Path(__file__).parents[1]))
from support import faults

VAULT_ID = bytes(16)
BLOCK_SIZES = {"aes-256-gcm": 4096, "aes-256-xts": 65536}


def main() -> None:
    base, cipher, options = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if "faulty" in options:
        faults.install(base / "faults")
    read_only = "read_only" in options
    tree, mountpoint = base / "tree", base / "mnt"
    vmk = Secret.take(bytearray(range(32)))
    tree = tree.resolve()
    if not tree.exists():
        tree.mkdir()
        siv = AESSIV(derive(vmk, VAULT_ID, labels.NAMES).view)
        (tree / FILE_NAME).write_bytes(seal_directory_id(siv, new_directory_id()))
    found = recover(base / "journal", tree, shared="shared" in options, look_only=read_only)
    filesystem = EncryptedFileSystem(
        tree,
        VAULT_ID,
        cipher,
        BLOCK_SIZES[cipher],
        shared="shared" in options,
        read_only=read_only,
        journal=base / "journal",
    )
    filesystem.unlock(vmk)
    fd = mount(
        mountpoint,
        MountOptions(
            str(base),
            allow_other="allow_other" in options,
            read_only=read_only,
            suid="suid" in options,
            dev="dev" in options,
        ),
    )
    session = Session(fd, filesystem.operations(), mountpoint=mountpoint)
    session.start()
    print("ready", found.put_back, flush=True)
    for line in sys.stdin:
        word = line.strip()
        if word == "freeze":
            session.freeze()
        elif word == "thaw":
            session.thaw()
        elif word == "lock":
            session.freeze()
            assert session.lock(5)
            filesystem.lock()
        elif word == "unlock":
            filesystem.unlock(vmk)
            session.unlock()
        elif word == "quit":
            unmount(mountpoint, lazy=True)
            session.wait(10)
            session.stop()
            filesystem.close()
        print("done", word, flush=True)
        if word == "quit":
            return


if __name__ == "__main__":
    main()

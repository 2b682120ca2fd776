"""A ciphertext tree made without a mount, by the parts of the file system itself, and read back by them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from support.checking import check_keys
from support.mounted_tree_child import BLOCK_SIZES

from phonevault.fs.core import CIPHERS as KINDS
from phonevault.fs.errors import Damaged
from phonevault.fs.format import dirid, links, names
from phonevault.fs.small_files import read_small

CIPHERS = ["aes-256-gcm", "aes-256-xts"]
LONG = b"a long name, " * 18
CONTENTS = {
    b"small": b"a few bytes",
    b"blocks": bytes(range(256)) * 80,
    b"whole": b"w" * 8192,
    b"empty": b"",
    LONG: b"under a long name",
}


class Ciphertext:
    """Objects go by their plaintext path below the root."""

    def __init__(self, tree: Path, cipher: str) -> None:
        self.tree, self.cipher = tree, cipher
        self._keys = check_keys()
        self._keys_of_files = self._keys.of_names
        layout, self._kind = KINDS[cipher]
        self._layout = layout(BLOCK_SIZES[cipher])
        self._scratch = [memoryview(bytearray(self._layout.scratch_bytes(1 << 20))) for _ in range(2)]

    @classmethod
    def make(cls, tree: Path, cipher: str) -> Ciphertext:
        """Root and a folder with the same contents, a folder in it, links, a fifo, a sparse file."""
        made = cls(tree, cipher)
        made._mkdir(tree)
        for folder in (b"", b"folder/", b"folder/deep/"):
            if folder:
                made.mkdir(folder.rstrip(b"/"))
            for name, contents in CONTENTS.items():
                made.write(folder + name, contents)
        made.write(b"sparse", b"end", offset=100_000)
        made.link(b"link", b"folder/small")
        made.long_link(b"folder/long link", b"target" * 600)
        os.link(made.stored(b"small"), made.name_for(b"folder/hard"))
        os.mkfifo(made.name_for(b"fifo"))
        return made

    # -- making -------------------------------------------------------------------------------------------

    def _mkdir(self, path: Path) -> None:
        path.mkdir()
        (path / dirid.FILE_NAME).write_bytes(
            dirid.seal_directory_id(self._keys.names, dirid.new_directory_id())
        )

    def mkdir(self, path: bytes) -> None:
        self._mkdir(self.name_for(path))

    def name_for(self, path: bytes) -> Path:
        """Where a new object goes; the sidecar of a long name is written."""
        above, _, name = path.rpartition(b"/")
        directory = self.stored(above)
        encoded = names.encrypt_name(self._keys.names, self.id_of(directory), name)
        stored = names.stored_name(encoded)
        if names.is_long(stored):
            (directory / (stored + names.LONG_SUFFIX)).write_text(encoded)
        return directory / stored

    def write(self, path: bytes, contents: bytes, offset: int = 0) -> None:
        fd = os.open(self.name_for(path), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if contents:
                self._kind(fd, self._layout).write(
                    self._keys_of_files, offset, memoryview(contents), *self._scratch
                )
        finally:
            os.close(fd)

    def long_link(self, path: bytes, target: bytes) -> None:
        link = links.LongLink.new(target)
        (self.tree / links.DIRECTORY).mkdir(exist_ok=True)
        sealed = self._keys_of_files.seal_long_target(link, target)
        (self.tree / links.DIRECTORY / link.sidecar).write_bytes(sealed)
        self.name_for(path).symlink_to(link.text)

    def link(self, path: bytes, target: bytes) -> None:
        self.name_for(path).symlink_to(self._keys_of_files.seal_target(target))

    # -- finding and reading ------------------------------------------------------------------------------

    def id_of(self, directory: Path) -> bytes:
        fd = os.open(directory, os.O_RDONLY)
        try:
            return dirid.open_directory_id(self._keys.names, read_small(dirid.FILE_NAME, fd))
        finally:
            os.close(fd)

    def stored(self, path: bytes) -> Path:
        """Where an object lies."""
        directory = self.tree
        for name in filter(None, path.split(b"/")):
            encoded = names.encrypt_name(self._keys.names, self.id_of(directory), name)
            directory = directory / names.stored_name(encoded)
        return directory

    def read(self, stored: Path) -> bytes | None:
        """The contents of a file as a mount gives them; None for an error."""
        fd = os.open(stored, os.O_RDONLY)
        try:
            content = self._kind(fd, self._layout)
            return bytes(content.read(self._keys_of_files, 0, 1 << 20, *self._scratch))
        except Damaged:
            return None
        finally:
            os.close(fd)

    def visible(self) -> dict[bytes, bytes | None]:
        """What a mount shows: contents of files, targets of links, nothing for the others; by path."""
        found: dict[bytes, bytes | None] = {}
        self._list(self.tree, b"", found)
        return found

    def _list(self, directory: Path, path: bytes, found: dict[bytes, bytes | None]) -> None:
        try:
            directory_id = self.id_of(directory)
        except OSError:
            return
        for entry in sorted(os.listdir(directory)):
            if not names.is_entry(entry):
                continue
            try:
                encoded = entry
                if names.is_long(entry):
                    fd = os.open(directory, os.O_RDONLY)
                    try:
                        encoded = read_small(entry + names.LONG_SUFFIX, fd).decode("ascii")
                    finally:
                        os.close(fd)
                    if names.stored_name(encoded) != entry:
                        continue
                name = path + names.decrypt_name(self._keys.names, directory_id, encoded)
            except (OSError, UnicodeDecodeError):
                continue
            self._show(directory / entry, name, found)

    def _show(self, stored: Path, name: bytes, found: dict[bytes, bytes | None]) -> None:
        mode = stored.lstat().st_mode
        if stat.S_ISDIR(mode):
            found[name] = None
            self._list(stored, name + b"/", found)
        elif stat.S_ISREG(mode):
            found[name] = self.read(stored)
        elif stat.S_ISLNK(mode):
            try:
                text = os.readlink(stored)
                if links.is_long(text):
                    link = links.parse(text)
                    sidecar = self.tree / links.DIRECTORY / link.sidecar
                    regular = stat.S_ISREG(sidecar.lstat().st_mode)
                    found[name] = self._keys.open_long_target(link, sidecar.read_bytes() if regular else b"")
                else:
                    found[name] = self._keys.open_target(text)
            except OSError:
                found[name] = None
        else:
            found[name] = None

"""The peers: Debian's packages with their defaults."""

from __future__ import annotations

import secrets

from benchmark.systems import (
    Phonevault,
    PhonevaultSaving,
    PhonevaultXts,
    Plain,
    System,
    package_version,
    wait_for_mount,
)


class Gocryptfs(System):
    """AES-256-GCM in 4 KiB blocks, Go."""

    name = "gocryptfs"

    def create(self) -> None:
        self.cipher.mkdir()
        self.secret.write_text(secrets.token_hex())
        self._run(
            "gocryptfs", "-q", "-init", "-scryptn", "10", "-passfile", str(self.secret), str(self.cipher)
        )

    def mount(self) -> None:
        self._run("gocryptfs", "-q", "-passfile", str(self.secret), str(self.cipher), str(self.mountpoint))

    def version(self) -> str:
        return self._run("gocryptfs", "-version").split(";")[0].strip()


class Securefs(System):
    """AES-256-GCM in 4 KiB blocks, C++; format 4 (lite) as it makes by default."""

    name = "securefs"

    def create(self) -> None:
        self.cipher.mkdir()
        self.secret.write_text(secrets.token_hex())
        words = ("--keyfile", str(self.secret), "-r", "1", str(self.cipher))
        self._run("securefs", "create", *words)

    def mount(self) -> None:
        words = ("--keyfile", str(self.secret), "-b", str(self.cipher), str(self.mountpoint))
        self._run("securefs", "mount", *words)
        wait_for_mount(self.mountpoint)

    def version(self) -> str:
        return package_version("securefs")


class _MadeByMounting(System):
    """Makes its folder when it is mounted for the first time; the passphrase comes on standard input."""

    options: tuple[str, ...] = ()

    def create(self) -> None:
        self.cipher.mkdir()
        self.secret.write_text(secrets.token_hex())
        self.mount()
        self.unmount()

    def mount(self) -> None:
        words = (self.name, *self.options, str(self.cipher), str(self.mountpoint))
        self._run(*words, text=self.secret.read_text() + "\n")
        wait_for_mount(self.mountpoint)

    def version(self) -> str:
        return package_version(self.name)


class Encfs(_MadeByMounting):
    """AES-CBC with 192 bits and no integrity, as its standard mode is; C++."""

    name = "encfs"
    options = ("--standard", "--stdinpass")


class Cryfs(_MadeByMounting):
    """XChaCha20-Poly1305 in blocks of 16 KiB, files and directories spread over them; C++."""

    name = "cryfs"


ALL: tuple[type[System], ...] = (
    Phonevault,
    PhonevaultXts,
    PhonevaultSaving,
    Gocryptfs,
    Securefs,
    Encfs,
    Cryfs,
    Plain,
)
OF_ONE_DIRECTORY: tuple[type[System], ...] = (Phonevault, Gocryptfs, Securefs, Plain)

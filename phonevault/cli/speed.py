"""`phonevault speed`."""

from __future__ import annotations

import signal
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from phonevault.cli.output import note, printable, say, show_json, show_table
from phonevault.cli.where import HELP as HEADER_HELP
from phonevault.cli.where import given

if TYPE_CHECKING:
    from phonevault.speed.ciphers import CipherSpeed
    from phonevault.speed.folder import FolderSpeed


@click.command()
@click.argument("vault", required=False)
@click.option("--header", "header_file", metavar="FILE", help=HEADER_HELP)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def speed(vault: str | None, header_file: str | None, as_json: bool) -> None:
    """Measure ciphers here, and with VAULT a folder on its file system against a plain directory.

    VAULT itself is not opened: a new vault with the same cipher is made beside it, mounted, measured and removed. That
    takes some ten seconds and up to 130 MiB.
    """
    from phonevault.speed import ciphers
    from phonevault.speed.advice import advise

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # what was made is removed
    # The folder first: its child process is forked while there are no other threads.
    of_folder = _folder(vault, header_file) if vault is not None else None
    if sys.stderr.isatty():
        note("measuring the ciphers …")
    of_ciphers = ciphers.measure()
    advice = advise(of_ciphers, of_folder)
    if as_json:
        show_json({"ciphers": asdict(of_ciphers), "folder": _as_json(of_folder), "advice": advice})
    else:
        _show(of_ciphers, of_folder)
        for sentence in advice:
            say(sentence)


def _folder(vault: str, header_file: str | None) -> FolderSpeed:
    from keyslots.store import load
    from phonevault.daemon.places import check_cipher
    from phonevault.fuse.mount import check_fuse
    from phonevault.speed.folder import measure

    place = given(vault, header_file).place
    path, header = place.vault, load(place).header
    check_cipher(header.cipher)
    check_fuse()
    if sys.stderr.isatty():
        note(f"measuring a trial vault beside {printable(str(path))} …")
    return measure(path, header.cipher, header.block_size)


def _as_json(folder: FolderSpeed | None) -> dict[str, Any] | None:
    if folder is None:
        return None
    rates = [{**asdict(rate), "ratio": rate.ratio} for rate in folder.rates]
    return {**asdict(folder), "vault": str(folder.vault), "rates": rates}


def _show(ciphers: CipherSpeed, folder: FolderSpeed | None) -> None:
    rows = [
        (one.cipher, f"{one.block_bytes // 1024} KiB", str(one.threads), f"{one.mb_per_s:,.0f} MB/s")
        for one in ciphers.rates
    ]
    rows.append(("aes-256-siv", "names", "1", f"{ciphers.names_per_s:,.0f} 1/s"))
    if ciphers.passphrase_s is not None:
        rows.append(("argon2id", "passphrase", "", f"{ciphers.passphrase_s:.2f} s"))
    show_table(("cipher", "block", "threads", "speed"), rows)
    if folder is not None:
        show_table(
            ("in a folder", "unit", "folder", "plain", "ratio"),
            [
                (one.name, one.unit, f"{one.folder:,.0f}", f"{one.plain:,.0f}", f"{one.ratio:.2f}")
                for one in folder.rates
            ],
        )

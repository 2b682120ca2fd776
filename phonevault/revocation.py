"""Taking a lost phone's ways in out of a vault, and what its key still opens afterwards (docs/threat-model.md, section 6).

The slots go and a new volume key comes in one write of the header. So a vault without the phone whose rotation is under way is one in
which a revocation was interrupted, and doing it again goes on with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from keyslots import store
from keyslots.derive import header_key
from keyslots.edit import rewrap_slot, with_slots
from keyslots.envelope import MAX_FILE_BYTES, encode_file, parse_file, verify_mac
from keyslots.epochs import begin_content_epoch, begin_epoch
from keyslots.errors import HeaderChanged, HeaderDamaged, HeaderTampered, HeaderTooNew, LastSlot
from keyslots.header import VMK_BYTES, Header, Slot, phone_parts
from keyslots.secret import Secret
from keyslots.slots.phones import PhonesKem

if TYPE_CHECKING:
    from keyslots.place import Place
    from phonevault.vault import OpenedVault


def slots_of(header: Header, fingerprint: str) -> tuple[Slot, ...]:
    """The slots in which a phone takes part: alone, together with a passphrase, or as one of several.

    Args:
        header: of the vault.
        fingerprint: of the phone's RSA key, hex; its first digits suffice, as everywhere here.
    """
    return tuple(
        slot
        for slot in header.slots
        if any(part.fingerprint.hex().startswith(fingerprint) for part in phone_parts(slot.kem))
    )


def without(header: Header, fingerprint: str) -> Header:
    """The header without a phone. It is there to be wrapped anew: a slot of several phones has no secret for those that are left yet.

    Raises:
        LastSlot: no other way in is left.
    """
    kept = tuple(rest for slot in header.slots if (rest := _without(slot, fingerprint)) is not None)
    if not kept:
        raise LastSlot(
            "no other way into the vault is left without this phone",
            hint="with the phone still at hand: `phonevault slot add VAULT --recovery`; without it nothing opens the vault",
        )
    return with_slots(header, kept)


def _without(slot: Slot, fingerprint: str) -> Slot | None:
    """A slot without a phone: as it is, or for those of its phones that are left if they are enough; else None."""
    kem = slot.kem
    rest = tuple(part for part in phone_parts(kem) if not part.fingerprint.hex().startswith(fingerprint))
    if len(rest) == len(phone_parts(kem)):
        return slot
    if not isinstance(kem, PhonesKem) or len(rest) < kem.threshold:
        return None
    return dataclasses.replace(slot, kem=PhonesKem(kem.threshold, rest, ()))


def take_out(opened: OpenedVault, fingerprint: str, *, content: bool = False) -> OpenedVault:
    """Write a header without a phone and with a new volume key, in one step.

    Its slots go; one that several phones open together stays for the others, if enough of them are left.

    A rotation that was under way began with the phone's slots, so its volume key is not new enough: there is one more. Where
    everything is being encrypted anew there can be none before that has ended: then the header is without the phone, and has the keys
    that it had.

    Args:
        opened: the vault, opened by another way.
        fingerprint: of the phone's RSA key, hex.
        content: the new volume key is one under which everything is encrypted anew.

    Returns:
        The vault as it is then, for the caller to wipe; ``opened`` itself if the phone has no slot in it.

    Raises:
        LastSlot: the phone opened it, or nobody else is left.
        OtherVault: the header does not open this tree.
        HeaderChanged, HeaderBusy, HeaderWriteFailed, BadParameter: as for `keyslots.store.save`. Nothing has changed then.
    """
    from phonevault.vault import prove_before_change, written

    gone = slots_of(opened.header, fingerprint)
    if not gone:
        return opened
    rest = without(opened.header, fingerprint)
    if opened.slot.id not in {slot.id for slot in rest.slots}:
        raise LastSlot(
            "the phone opened the vault for this command: no other slot is known to work",
            hint="open it by another way: --phone, --passphrase-file or --recovery-file",
        )
    prove_before_change(opened)
    header, vmks, fresh = rest, opened.vmks, None
    if opened.header.rotates_contents:
        for slot in gone:
            if slot.id in {left.id for left in rest.slots}:
                header, _ = rewrap_slot(header, vmks, slot.id)
    else:
        begin = begin_content_epoch if content else begin_epoch
        header, epoch, fresh = begin(rest, opened.vmks)
        vmks = {**opened.vmks, epoch: fresh}
    try:
        with header_key(vmks[header.epochs.current], header.vault_id) as key:
            parse_file(encode_file(header, key))
            saved = store.save(opened.place, header, key)
    except BaseException:
        if fresh is not None:
            fresh.wipe()
        raise
    revoked = dataclasses.replace(opened, header=saved, vmks=vmks)
    written(revoked, saved)
    return revoked


def kept_open(opened: OpenedVault) -> Callable[[], OpenedVault]:
    """Keep the current volume key of a vault over a rotation of contents, which wipes it and leaves no other.

    Returns:
        Gives the vault as it is after that, verified, for the caller to wipe. To be called once.

    Raises:
        HeaderTampered, HeaderChanged: (of the call) the header on disk is not that of this vault under the same volume key.
    """
    current, key = opened.header.epochs.current, Secret(VMK_BYTES)
    key.view[:] = opened.vmk.view

    def again() -> OpenedVault:
        sealed = store.load(opened.place).sealed
        header = sealed.header
        try:
            if header.vault_id != opened.header.vault_id or header.epochs.live != (current,):
                raise HeaderChanged("the vault's header was changed by another command")
            with header_key(key, header.vault_id) as of_mac:
                verify_mac(sealed, of_mac)
        except BaseException:
            key.wipe()
            raise
        return dataclasses.replace(opened, header=header, vmks={current: key})

    return again


def old_headers(place: Place, vault_id: bytes, fingerprint: str) -> list[Path]:
    """The files in a vault, and beside a header kept apart, that are headers of it with a slot of the phone.

    Backups are such files, and conflict copies of a tool that synchronises.

    Args:
        place: the vault; of its directories only what lies in them itself is looked at.
        vault_id: of the vault.
        fingerprint: of the phone's RSA key, hex.

    Raises:
        OSError: a directory cannot be read.
    """
    directories = dict.fromkeys((place.vault, place.directory))
    return [path for directory in directories for path in _old_headers(directory, vault_id, fingerprint)]


def _old_headers(directory: Path, vault_id: bytes, fingerprint: str) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        with contextlib.suppress(OSError, HeaderDamaged, HeaderTampered, HeaderTooNew):
            header = parse_file(_read(path)).header
            if header.vault_id == vault_id and slots_of(header, fingerprint):
                yield path


def _read(path: Path) -> bytes:
    """A file that can be a header by its size; what is none (a directory, a link, a FIFO) is an OSError or damaged."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
            raise HeaderDamaged(f"{path} is no header")
        return os.pread(fd, MAX_FILE_BYTES + 1, 0)
    finally:
        os.close(fd)

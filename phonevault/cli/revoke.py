"""`phonevault slot revoke`: a phone is lost or stolen."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from phonevault.cli import phones
from phonevault.cli.opening import opened_vault, opening_options
from phonevault.cli.output import counted, note, printable, say, show_json, warn
from phonevault.cli.where import Given, vault_argument
from phonevault.errors import EXIT_INTERRUPTED, NotMounted, PhonevaultError, RotationIncomplete

if TYPE_CHECKING:
    from keyslots.header import Header, Slot
    from keyslots.place import Place
    from phonevault.rotation import Rotated
    from phonevault.vault import OpenedVault

_FINGERPRINT = re.compile("[0-9a-f]{16,64}")
"""As `slot list` shows it, or more of it."""

_STILL = {
    "files": "an old copy of the header, reads every file",
    "names": "an old copy of the header, reads names, links and extended attributes, new ones too",
    "known-file-keys": "an old copy of the header and of a file, reads that file, what is written into it later too",
    "damaged-files": "an old copy of the header, has the keys of the damaged files",
    "old-copies": "an old copy of the vault (a backup, a snapshot, a service's history), reads that copy",
}
"""What the phone's key is still good for: whoever has the phone and …"""

_KNOWN = "the phone was there when that began, and may know its volume key"

_UNMOUNT = (
    "the phone's slots are gone; unmount the folder, and the same command changes the volume key, or let "
    "the mount do it: `phonevault rotate master VAULT`"
)


@dataclass(frozen=True)
class _Lost:
    """The phone that is to open nothing any more.

    Attributes:
        name: In the book of this computer, or as the user gave it.
        fingerprint: Of its RSA key, hex, or the first digits of it.
        paired: It is in the book.
    """

    name: str
    fingerprint: str
    paired: bool


@dataclass
class _Outcome:
    """What became of it so far, told at once or, as JSON, at the end.

    Attributes:
        place: VAULT and its header, canonical.
        lost: The phone.
        quiet: Nothing is told but as JSON.
        members: Further members of the JSON.
        still: What the phone's key is good for: keys of `_STILL`.
    """

    place: Place
    lost: _Lost
    quiet: bool
    members: dict[str, Any] = field(default_factory=dict)
    still: tuple[str, ...] = ()

    def say(self, text: str) -> None:
        """A result."""
        if not self.quiet:
            say(text)

    def note(self, text: str) -> None:
        """What to know about it."""
        if not self.quiet:
            note(text)

    def tell_what_is_left(self, closed: str) -> None:
        """Say what the phone's key still opens, as things stand."""
        self.note(f"closed to {printable(self.lost.name)}: {closed}. Whoever has the phone and")
        for what in self.still:
            self.note("  " + _STILL[what])

    def show(self) -> None:
        """The JSON, if that was asked for."""
        if self.quiet:
            fixed = {
                "vault": str(self.place.vault),
                "phone": self.lost.name,
                "fingerprint": self.lost.fingerprint,
            }
            show_json({**fixed, **self.members, "still_open": list(self.still)})


@dataclass(frozen=True)
class _Work:
    """What is to be done about keys.

    Attributes:
        content: Everything is encrypted anew.
        duty: Share of the time that is worked.
        ends_first: A rotation of contents was under way, which the phone had a part in, or which was not asked for: no other
            can begin before it has ended.
    """

    content: bool
    duty: float
    ends_first: bool


@click.command(short_help="Shut a lost phone out of VAULT.")
@vault_argument
@click.argument("phone")
@click.option("--content", is_flag=True, help="Encrypt everything anew, too.")
@click.option("--forget", is_flag=True, help="Forget the pairing with it, too.")
@click.option(
    "--duty",
    type=click.FloatRange(0.01, 1),
    default=1,
    show_default=True,
    metavar="SHARE",
    help="Work only this share of the time.",
)
@click.option("--yes", is_flag=True, help="Do not ask about the slots that stay on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="What became of it, as JSON.")
@opening_options
def revoke(
    vault: Given,
    phone: str,
    content: bool,
    forget: bool,
    duty: float,
    yes: bool,
    as_json: bool,
    phone_names: tuple[str, ...],
    passphrase_file: str | None,
    recovery_file: str | None,
) -> None:
    """Shut a lost or stolen PHONE out of VAULT: its slots go, and the volume key changes.

    PHONE is a paired phone's name, or the key of its slot as `slot list` shows it. VAULT is opened by another way. A folder that
    the phone holds open is locked. Each step says what the phone's key is still good for. Interrupted, the same command goes on.
    """
    from keyslots.store import load
    from phonevault import revocation
    from phonevault.cli.rotate import agree_on_slots
    from phonevault.rotation_kinds import is_any_under_way as rotates

    header = load(vault.place).header
    lost = _lost(phone, header)
    rest = revocation.without(header, lost.fingerprint)  # before anybody is asked for anything
    given = [phones.phone_book().get(name).fingerprint for name in phone_names]
    if any(fingerprint.startswith(lost.fingerprint) for fingerprint in given):
        raise click.UsageError("the lost phone itself cannot be the way in: give another one")
    outcome = _Outcome(vault.place, lost, as_json)
    with opened_vault(vault.place, phone_names, passphrase_file, recovery_file, among=rest) as opened:
        going_on = rotates(opened.header) and not revocation.slots_of(opened.header, lost.fingerprint)
        agree_on_slots(revocation.without(opened.header, lost.fingerprint), yes=yes or going_on)
        now = revocation.take_out(opened, lost.fingerprint, content=content)
        try:
            not_locked = _slots_gone(outcome, opened, now)
            ends_first = opened.header.rotates_contents and (now is not opened or not content)
            _change_keys(outcome, now, _Work(content, duty, ends_first))
            _forget(outcome, forget)
            if not_locked is not None:
                raise not_locked
        finally:
            now.wipe()
            outcome.show()


# -- who is meant -------------------------------------------------------------------------------------------------


def _lost(phone: str, header: Header) -> _Lost:
    """Find the phone by its name in the book, or by its key.

    Raises:
        UnknownPhone: neither.
    """
    from keyslots.header import phone_parts
    from phone_link.errors import UnknownPhone
    from phonevault.rotation import is_under_way

    book = phones.phone_book().list()
    for known in book:
        if known.name == phone:
            return _Lost(phone, known.fingerprint, True)
    key = phone.lower()
    if _FINGERPRINT.fullmatch(key):
        paired = {known.fingerprint: known.name for known in book}
        with_slots = {part.fingerprint.hex() for slot in header.slots for part in phone_parts(slot.kem)}
        found = {whole for whole in with_slots | set(paired) if whole.startswith(key)}
        if len(found) == 1:
            whole = found.pop()
            return _Lost(paired.get(whole, phone), whole, whole in paired)
        if not found and (is_under_way(header) or header.rotates_contents):
            return _Lost(phone, key, False)  # an interrupted run has taken its slots away
    raise UnknownPhone(
        f"no paired phone is called {phone!r}, and no slot has such a key",
        hint="`phonevault slot list VAULT` shows the keys of slots (16 digits or more), `phonevault phone list` the phones",
    )


# -- the steps ----------------------------------------------------------------------------------------------------


def _slots_gone(outcome: _Outcome, before: OpenedVault, now: OpenedVault) -> PhonevaultError | None:
    """Tell of the header that was written, and lock what the phone holds open; returns what went wrong with that."""
    from phonevault import revocation, rotation

    lost = outcome.lost
    outcome.still = ("files", "names", "old-copies")
    was_in = revocation.slots_of(before.header, lost.fingerprint)
    left = {slot.id for slot in now.header.slots}
    gone, changed = (
        [slot for slot in was_in if slot.id not in left],
        [slot for slot in was_in if slot.id in left],
    )
    outcome.members |= {"removed_slots": [_facts(slot) for slot in gone], "stage": "slots"}
    outcome.members |= {"changed_slots": [_facts(slot) for slot in changed]}
    outcome.members |= {"epoch": now.header.epochs.current, "forgotten": False}
    for slot in gone:
        outcome.say(f"removed slot {slot.id} ({slot.kind}: {printable(slot.label)})")
    for slot in changed:
        outcome.say(f"slot {slot.id} ({slot.kind}: {printable(slot.label)}) is for its other phones now")
    if not was_in:
        under_way = rotation.is_under_way(now.header) or now.header.rotates_contents
        more = ": going on with the rotation that is under way" if under_way else " (any more)"
        outcome.note(f"{printable(lost.name)} has no slot in it{more}")
    outcome.note("old copies of the header still give whoever has the phone the key of every file")
    outcome.members["locked"], failed = _lock_folders(outcome)
    found = revocation.old_headers(outcome.place, now.header.vault_id, lost.fingerprint)
    outcome.members["old_headers"] = [str(path) for path in found]
    for path in found:
        warn(f"{path} is an old header that {printable(lost.name)} opens: remove it")
    return failed


def _facts(slot: Slot) -> dict[str, Any]:
    return {"id": slot.id, "kind": slot.kind, "label": slot.label}


def _lock_folders(outcome: _Outcome) -> tuple[list[str], PhonevaultError | None]:
    """Lock the folders of this user that the phone holds open or could open, and wait until their keys are wiped.

    Daemons of other users and computers notice by themselves that their phone has no slot any more.

    Returns:
        Their mount points, and what went wrong with one, if anything did.
    """
    from phonevault.daemon import client
    from phonevault.daemon.protocol import Request

    locked: list[str] = []
    failed: PhonevaultError | None = None
    for mount in client.find_mounts():
        status = mount.status
        keys = [phone["key"] for phone in status.get("phones", [])]
        # Of a silent daemon nobody knows: it is told, and if it does not lock, that is an error.
        is_its = mount.silent or any(key.startswith(outcome.lost.fingerprint) for key in keys)
        if not mount.alive or mount.vault != str(outcome.place.vault) or not is_its:
            continue
        if status["state"] == "unlocked" and not status["bound_to_phone"]:
            continue  # opened by a passphrase or a code meanwhile
        try:
            # A locked one, too: so the phone's answer to a question that was put before comes too late.
            client.call(mount.mountpoint, Request("lock"))
        except NotMounted:
            continue
        except PhonevaultError as error:
            warn(f"{mount.mountpoint} may be open still: {error}")
            failed = failed or error
            continue
        locked.append(mount.mountpoint)
        outcome.say(f"locked {mount.mountpoint}")
    return locked, failed


def _change_keys(outcome: _Outcome, now: OpenedVault, work: _Work) -> None:
    """Wrap every file's key under the new volume key, or encrypt everything anew under it.

    Raises:
        VaultInUse: somebody has mounted it.
        Exit: it was stopped.
        RotationIncomplete: what is damaged keeps a rotation of contents from ending, which must come first.
    """
    from phonevault.cli.holding import hold_or_say_where
    from phonevault.cli.rotate import run_content, run_master
    from phonevault.daemon.harden import allow_many_files

    allow_many_files()  # one for each level of the tree
    lock = hold_or_say_where(outcome.place.vault, shared=False, hint=_UNMOUNT)
    try:
        if work.ends_first:
            now = _end_contents(outcome, now, work)
        done = (run_content if work.content else run_master)(now, work.duty)
    finally:
        now.wipe()
        os.close(lock)
    _tell_keys(outcome, done, work)


def _end_contents(outcome: _Outcome, now: OpenedVault, work: _Work) -> OpenedVault:
    """End the rotation of contents that is under way; returns the vault as it is then."""
    from phonevault import revocation
    from phonevault.cli.rotate import run_content

    outcome.note(
        "everything is being encrypted anew since before the phone's slots went: that has to end first"
    )
    again = revocation.kept_open(now)
    done = run_content(now, work.duty)
    if done.complete:
        return again()
    if done.progress.damaged and done.progress.seen >= done.progress.total:
        raise RotationIncomplete(
            f"{done.progress.damaged} damaged objects keep the older volume keys: the phone's slots are gone, the key is the same",
            hint="`phonevault check VAULT --repair`, then the same command goes on",
        )
    note(f"stopped before the end; when the same command has ended, one more time: {_KNOWN}")
    raise click.exceptions.Exit(EXIT_INTERRUPTED)


def _tell_keys(outcome: _Outcome, done: Rotated, work: _Work) -> None:
    progress, place = done.progress, outcome.place.vault
    outcome.members |= {"epoch": done.epoch, "damaged": progress.damaged}
    outcome.members |= {"files_encrypted" if work.content else "file_keys_wrapped": progress.wrapped}
    what, how = ("file", "encrypted") if work.content else ("file key", "wrapped")
    outcome.say(f"{place}: volume key {done.epoch}, {counted(progress.wrapped, what)} {how} anew")
    if not done.complete and (not progress.damaged or progress.seen < progress.total):
        note("stopped before the end; the same command goes on")
        raise click.exceptions.Exit(EXIT_INTERRUPTED)
    outcome.members["stage"] = "content" if work.content else "master"
    outcome.still = ("old-copies",) if work.content else ("names", "known-file-keys", "old-copies")
    if progress.damaged:
        outcome.still = ("damaged-files", *outcome.still)
    outcome.tell_what_is_left(
        "everything that is in the vault now" if work.content else "files made from now on"
    )


def _forget(outcome: _Outcome, forget: bool) -> None:
    lost = outcome.lost
    if not lost.paired:
        return
    if forget:
        phones.phone_book().forget(lost.name)
        outcome.members["forgotten"] = True
        outcome.say(f"forgot {printable(lost.name)}")
    else:
        outcome.note(
            f"{printable(lost.name)} is still paired with this computer: --forget, or `phonevault phone forget`"
        )

"""`phonevault info`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from phonevault.cli.output import say, show_json, show_table, warn
from phonevault.cli.where import Given, vault_argument

if TYPE_CHECKING:
    from keyslots.header import Header, Slot
    from keyslots.place import Place

NO_INTEGRITY = "aes-256-xts"


@click.command()
@vault_argument
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def info(vault: Given, as_json: bool) -> None:
    """Show what the header of VAULT says. No key is used, so nothing of it is verified."""
    from keyslots.store import load

    loaded = load(vault.place)
    for warning in loaded.warnings:
        warn(warning)
    if as_json:
        where = {"vault": str(vault.path), "header_file": header_file(vault.place)}
        show_json({**where, **facts(loaded.header), "warnings": list(loaded.warnings)})
        return
    _show(vault.place, loaded.header)


def header_file(place: Place) -> str | None:
    """The file of a header that is kept apart, as JSON."""
    return None if place.file is None else str(place.file)


def facts(header: Header) -> dict[str, Any]:
    """What a header says, as JSON."""
    from keyslots.header import VERSION

    return {
        "vault_id": header.vault_id.hex(),
        "version": VERSION,
        "generation": header.generation,
        "created": header.created,
        "cipher": header.cipher,
        "integrity": header.cipher != NO_INTEGRITY,
        "block_size": header.block_size,
        "epochs": header.epochs.to_json(),
        "rotation": rotation_of(header),
        "slots": [slot_facts(slot) for slot in header.slots],
        "verified": False,
    }


def rotation_of(header: Header) -> str | None:
    """Which rotation is under way, by the name of its command; None if none is."""
    if header.rotates_contents:
        return "content"
    return "master" if header.epochs.files != header.epochs.current else None


def cipher_text(cipher: str) -> str:
    """A cipher as shown to people: what protects nothing against changes says so."""
    return f"{cipher} (no integrity)" if cipher == NO_INTEGRITY else cipher


def slot_facts(slot: Slot) -> dict[str, Any]:
    """What a header says of a slot, as JSON."""
    from keyslots.header import passphrase_part, phone_part
    from keyslots.slots.phones import PhonesKem

    found: dict[str, Any] = {
        "id": slot.id,
        "kind": slot.kem.kind,
        "label": slot.label,
        "created": slot.created,
    }
    if (phone := phone_part(slot.kem)) is not None:
        found["fingerprint"] = phone.fingerprint.hex()
    if isinstance(slot.kem, PhonesKem):
        found["threshold"] = slot.kem.threshold
        found["phones"] = [part.fingerprint.hex() for part in slot.kem.phones]
    if (typed := passphrase_part(slot.kem)) is not None:
        found["argon2id"] = asdict(typed.cost)
    return found


def key_text(facts: dict[str, Any]) -> str:
    """The key of a slot's phone as shown to people; of several phones, how many are needed."""
    if "threshold" in facts:
        return f"{facts['threshold']} of {', '.join(one[:16] for one in facts['phones'])}"
    return str(facts.get("fingerprint", ""))[:16]


def _show(place: Place, header: Header) -> None:
    say(f"vault       {place.vault}")
    if place.apart:
        say(f"header      {place.shown}")
    say(f"id          {header.vault_id.hex()}")
    say(f"created     {header.created}, header written {header.generation} times")
    say(f"cipher      {cipher_text(header.cipher)}, blocks of {header.block_size} bytes")
    say(f"key epochs  {', '.join(str(epoch) for epoch in header.epochs.live)} (now {header.epochs.current})")
    rotation = rotation_of(header)
    if rotation is not None:
        say(f"rotation    under way: `phonevault rotate {rotation}` goes on with it")
    rows = []
    for slot in (slot_facts(slot) for slot in header.slots):
        rows.append((str(slot["id"]), slot["kind"], slot["label"], slot["created"], key_text(slot)))
    show_table(("slot", "kind", "label", "made", "key"), rows)
    say("not verified: only opening the vault shows whether this is true")

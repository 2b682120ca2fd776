"""`phonevault-phone status` and `log`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def show_commands(store: _Decorator) -> tuple[click.Command, ...]:
    """Return the commands of this module; `store` is the decorator of the argument STORE."""

    @click.command()
    @store
    @click.option("--json", "as_json", is_flag=True, help="As JSON.")
    def status(store: Path, as_json: bool) -> None:
        """Show keys, PIN tries, paired computers, vaults and which header of them was seen last, and the agent's state."""
        facts = _facts(store)
        click.echo(json.dumps(facts, indent=2) if as_json else _readable(facts))

    @click.command()
    @store
    @click.option("--json", "as_json", is_flag=True, help="As JSON.")
    def log(store: Path, as_json: bool) -> None:
        """Show what was done with the keys, oldest first."""
        from phone_link.phone.display import printable
        from phone_link.phone.log import UnlockLog, readable
        from phone_link.phone.store import Store

        Store(store).load()
        entries = UnlockLog(store).read()
        if as_json:
            click.echo(json.dumps(entries, indent=2))
            return
        for entry in entries:
            click.echo(f"{printable(entry.get('time', '?'), 20)} {readable(entry)}")

    return status, log


def _facts(path: Path) -> dict[str, Any]:
    import hashlib

    from phone_link.phone.control import ask_agent
    from phone_link.phone.errors import AgentNotRunning
    from phone_link.phone.software import describe
    from phone_link.phone.store import Store

    store = Store(path)
    phone = store.load()
    try:
        agent: dict[str, Any] | None = ask_agent(path, "status")
    except AgentNotRunning:
        agent = None
    if agent is not None:
        agent.pop("ok")
    keys = [
        {
            "id": key.id.hex(),
            "label": key.label,
            "bits": describe(key).modulus.bit_length(),
            "policy": key.policy,
            "usage": list(key.usage),
            "fingerprint": hashlib.sha256(key.public).hexdigest(),
            "created": key.created,
        }
        for key in store.read_keys()
    ]
    return {
        "store": str(path),
        "name": phone.name,
        "created": phone.created,
        "pin_tries_left": phone.pin_tries,
        "puk_tries_left": phone.puk_tries,
        "keys": keys,
        "computers": [{"id": p.id.hex(), "name": p.name, "paired": p.paired} for p in phone.peers],
        "vaults": [
            {
                "id": anchor.vault_id.hex(),
                "generation": anchor.shown.generation,
                "seen": anchor.seen,
                "accept_next": anchor.accept,
            }
            for anchor in store.load_anchors().anchors
        ],
        "agent": agent,
    }


def _readable(facts: dict[str, Any]) -> str:
    from phone_link.phone.display import printable

    tries = facts["pin_tries_left"]
    blocked = (
        "blocked: phonevault-phone unblock"
        if tries == 0
        else f"{tries} {'try' if tries == 1 else 'tries'} left"
    )
    lines = [f"phone: {printable(facts['name'], 64)}", f"PIN: {blocked}"]
    lines += [
        f"key: {printable(k['label'], 64)}, RSA {k['bits']}, {k['policy']}, SHA-256 {k['fingerprint']}"
        for k in facts["keys"]
    ]
    lines += [
        f"computer: {printable(c['name'], 64)}, {c['id']}, since {c['paired']}" for c in facts["computers"]
    ]
    lines += [
        f"vault: {v['id']}, header of generation {v['generation']}, seen {printable(v['seen'], 20)}"
        + (", the next header is taken" if v["accept_next"] else "")
        for v in facts["vaults"]
    ]
    agent = facts["agent"]
    if agent is None:
        return "\n".join([*lines, "agent: not running"])
    state = "locked" if agent["locked"] else "ready" if agent["logged_in"] else "waiting for the PIN"
    connected = ", ".join(printable(name, 64) for name in agent["connected"]) or "nobody"
    return "\n".join([*lines, f"agent: {state}; connected: {connected}"])

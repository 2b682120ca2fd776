"""`phonevault rotate status|pause|resume|throttle`: rotations that are under way in mounted vaults."""

from __future__ import annotations

from typing import Any

import click

from phonevault.cli.output import note, say, show_json, show_table
from phonevault.cli.rotation_in_mount import change, find, place_of
from phonevault.daemon import client


@click.command("status", short_help="How far rotations in mounted vaults are.")
@click.argument("target", metavar="[VAULT | MOUNTPOINT]", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def rotate_status(target: str | None, as_json: bool) -> None:
    """Show how far the rotation of a vault is, or those of all mounted vaults."""
    rows = [_unmounted_row(target)] if target is not None and find(target) is None else _mounted_rows(target)
    if as_json:
        show_json(rows)
        return
    shown = [row for row in rows if row["rotation"] is not None]
    if shown:
        columns = ("vault", "folder", "kind", "state", "progress", "duty", "")
        show_table(columns, [_row(row) for row in shown])
    else:
        note("no rotation is under way")


def _mounted_rows(target: str | None) -> list[dict[str, Any]]:
    wanted = None if target is None else place_of(target)
    return [
        {"vault": mount.vault, "mountpoint": mount.mountpoint, "rotation": mount.status.get("rotation")}
        for mount in client.find_mounts()
        if mount.alive and wanted in (None, mount.mountpoint)
    ]


def _unmounted_row(vault: str) -> dict[str, Any]:
    """What the header says, unverified: no key is used."""
    from keyslots.store import load
    from phonevault.daemon.places import canonical_vault
    from phonevault.rotation_kinds import kind_under_way

    kind = kind_under_way(load(canonical_vault(vault)).header)
    state = {"state": "waiting", "message": "not mounted; `mount` or the command goes on"}
    rotation = None if kind is None else {"kind": kind.name, **state}
    return {"vault": str(canonical_vault(vault)), "mountpoint": None, "rotation": rotation}


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    now = row["rotation"]
    progress = f"{now['seen']:,} of {now['total']:,} {now['unit']}" if "seen" in now else "–"
    duty = f"{now['duty']:.0%}" if "duty" in now else "–"
    folder = row["mountpoint"] or "–"
    return (row["vault"], folder, now["kind"], now["state"], progress, duty, now["message"])


@click.command()
@click.argument("target", metavar="VAULT | MOUNTPOINT")
def pause(target: str) -> None:
    """Let the rotation in a mounted vault rest, through locks and unlocks, until `rotate resume`. The next mount goes on with it."""
    change(place_of(target), "pause")
    say("paused")


@click.command()
@click.argument("target", metavar="VAULT | MOUNTPOINT")
def resume(target: str) -> None:
    """Let the rotation in a mounted vault go on."""
    change(place_of(target), "resume")
    say("going on")


@click.command()
@click.argument("target", metavar="VAULT | MOUNTPOINT")
@click.option(
    "--duty",
    type=click.FloatRange(0.001, 1),
    required=True,
    metavar="SHARE",
    help="Work only this share of the time.",
)
def throttle(target: str, duty: float) -> None:
    """Let the rotation in a mounted vault work only a share of the time. The next mount begins with 0.5 again."""
    change(place_of(target), "throttle", duty)
    say(f"works {duty:.0%} of the time")

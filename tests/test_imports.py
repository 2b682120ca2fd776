"""The rooms of docs/architecture.md: who may import whom. Imports inside functions count as well."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("keyslots", "phone_link", "phonevault")

# Room: the rooms whose modules it may import besides its own. A module's room is the longest fit.
ROOMS: dict[str, tuple[str, ...]] = {
    "keyslots": (),
    "phone_link": (),  # errors and helpers at the top, open to all of phone_link
    "phone_link.at": (),
    "phone_link.transport": (),
    "phone_link.channel": ("phone_link.at", "phone_link.transport"),
    "phone_link.pairing": ("phone_link.at", "phone_link.channel"),
    "phone_link.host": ("phone_link.at", "phone_link.transport", "phone_link.channel", "phone_link.pairing"),
    "phone_link.phone": ("phone_link.at", "phone_link.transport", "phone_link.channel", "phone_link.pairing"),
    "phone_link.virtual": ("phone_link.transport",),
    "phonevault": (),  # errors and version
    "phonevault.fuse": (),
    "phonevault.fs": ("phonevault.fuse", "keyslots"),
    "phonevault.check": ("phonevault.fs", "keyslots"),
    "phonevault.openers": ("keyslots", "phone_link.host"),
    "phonevault.durable": (),
    "phonevault.root_id": ("keyslots", "phonevault.durable", "phonevault.fs"),
    "phonevault.vault": (
        "phonevault.newest_header",
        "keyslots",
        "phone_link.host",
        "phonevault.durable",
        "phonevault.openers",
        "phonevault.root_id",
        "phonevault.fs",
    ),
    "phonevault.header_copies": (
        "keyslots",
        "phonevault.durable",
        "phonevault.openers",
        "phonevault.fs",
        "phonevault.vault",
    ),
    "phonevault.revocation": ("keyslots", "phonevault.vault"),
    "phonevault.rotation": ("keyslots", "phonevault.vault", "phonevault.fs"),
    "phonevault.content_rotation": ("keyslots", "phonevault.vault", "phonevault.fs", "phonevault.rotation"),
    "phonevault.rotation_kinds": (
        "keyslots",
        "phonevault.vault",
        "phonevault.fs",
        "phonevault.rotation",
        "phonevault.content_rotation",
    ),
    "phonevault.kdf_cost": ("keyslots",),
    "phonevault.slot_use": ("keyslots",),
    "phonevault.newest_header": ("keyslots",),
    "phonevault.slots": ("keyslots", "phonevault.openers", "phonevault.vault"),
    "phonevault.daemon": (
        "keyslots",
        "phonevault.fs",
        "phonevault.fuse",
        "phonevault.slot_use",
        "phonevault.newest_header",
        "phonevault.vault",
        "phonevault.rotation_kinds",
        "phonevault.content_rotation",
        "phone_link.host",
    ),
    "phonevault.doctor": ("phonevault.fuse", "phone_link.host", "phone_link.transport"),
    "phonevault.speed": ("keyslots", "phonevault.kdf_cost", "phonevault.vault", "phonevault.daemon"),
}
ROOMS["phonevault.cli"] = tuple(
    room for room in ROOMS if room not in ("phone_link.phone", "phone_link.virtual")
)
# The top of a package (its errors) is open to the package and to those who may enter one of its rooms.
TOPS = ("phone_link", "phonevault")

# Third-party package: prefixes of the modules that may import it.
THIRD_PARTY = {
    "noise": ("phone_link.channel.noise",),
    "serial": ("phone_link.transport.serial",),
    "dbus_fast": ("phone_link.transport.bluez.bus",),
    "bumble": ("phone_link.transport.bumble", "phone_link.virtual"),
    "click": ("phonevault.cli", "phone_link.phone.cli"),
    "segno": ("phonevault.cli",),
    "zxcvbn": ("phonevault.cli",),
    "rich": ("phonevault.cli", "phone_link.phone.cli"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def room_of(module: str) -> str:
    return max((room for room in ROOMS if within(module, room)), key=len)


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of each import; `from a import b` counts as a.b, which names the module."""
    module = module_name(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def is_allowed(module: str, imported: str) -> bool:
    for name, importers in THIRD_PARTY.items():
        if within(imported, name):
            return any(module.startswith(importer) for importer in importers)
    if not any(within(imported, package) for package in PACKAGES):
        return True  # the standard library, or a dependency that all may use
    room, other = room_of(module), room_of(imported)
    if other in TOPS:
        return within(module, other) or any(within(allowed, other) for allowed in ROOMS[room])
    return other == room or other in ROOMS[room]


SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_import_enters_an_open_room(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {module_name(path)} may not import {imported}"
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] == package
        for line, imported in imports_of(path)
        if not is_allowed(module_name(path), imported)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "imported", "allowed"),
    [
        ("keyslots.header", "keyslots.secret.Secret", True),
        ("keyslots.header", "phone_link.errors.LinkError", False),
        ("phone_link.at.client", "keyslots.secret.Secret", False),
        ("phone_link.at.client", "phone_link.errors.LinkError", True),
        ("phone_link.host.session", "phone_link.phone.store", False),
        ("phone_link.phone.agent", "phone_link.host.session", False),
        ("phone_link.phone.agent", "phone_link.channel.server", True),
        ("phonevault.vault", "phone_link.host.session", True),
        ("phonevault.vault", "phone_link.errors", True),
        ("phonevault.fs.nodes", "phone_link.errors", False),
        ("phonevault.fs.nodes", "phonevault.errors", True),
        ("phonevault.fuse.session", "phonevault.fs.nodes", False),
        ("phone_link.channel.server", "noise.connection", False),
        ("phone_link.channel.noise", "noise.connection", True),
        ("phonevault.daemon.serve", "rich.progress", False),
        ("phone_link.phone.cli", "click", True),
    ],
)
def test_the_rule_itself(module: str, imported: str, allowed: bool) -> None:
    assert is_allowed(module, imported) is allowed


def test_rooms_are_those_of_the_architecture_page() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for room in ROOMS:
        if room in TOPS:
            continue
        as_path = room.replace(".", "/")
        assert any(f"| `{as_path}{end}`" in page for end in ("", "/", ".py")), f"{room} is not on the page"

"""Names that computers and phones give themselves."""

from __future__ import annotations

from phone_link.errors import ProtocolError

MAX_NAME_CHARACTERS = 64


def checked_name(name: str) -> str:
    """Return the name if it is 1 … 64 printable characters, none blank at the ends; else `ProtocolError`."""
    # Whoever shows it need not fear control characters.
    if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable() or name != name.strip():
        raise ProtocolError(f"a name has 1 to {MAX_NAME_CHARACTERS} printable characters")
    return name

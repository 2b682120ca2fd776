"""Text from a computer, made safe to show on a terminal and to log."""

from __future__ import annotations


def printable(text: str, longest: int) -> str:
    """Return `text` without control, format (bidirectional) and other unprintable characters, bounded.

    Such characters become `?`; a longer text ends with an ellipsis.
    """
    shown = "".join(
        character if character.isprintable() else "?" for character in text[: longest + 1]
    ).strip()
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"

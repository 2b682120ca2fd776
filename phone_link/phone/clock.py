"""Times as the store writes them."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """Return the time as `YYYY-MM-DDThh:mm:ssZ`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

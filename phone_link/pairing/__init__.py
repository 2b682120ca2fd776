"""Pairing: six digits on both screens, commit then reveal (docs/protocol.md, clause 6)."""

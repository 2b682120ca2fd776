"""The kinds of slots, one module each: what to wrap for, and what unwraps (docs/format.md 1.3)."""

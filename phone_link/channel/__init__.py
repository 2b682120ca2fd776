"""The secure channel: Noise messages carried in AT commands (docs/protocol.md, clause 4)."""

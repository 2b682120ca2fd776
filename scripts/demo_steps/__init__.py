"""The steps of scripts/demo, one module a subject."""

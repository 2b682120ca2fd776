"""Measurements of scripts/bench, one module a subject."""

"""Failures of pjdfstest that are known, with their causes in docs/conformance.md: test program → numbers of its checks."""

from __future__ import annotations

PJDFSTEST: dict[str, frozenset[int]] = {}

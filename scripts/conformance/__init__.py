"""Public conformance suites run against a fresh vault, one module a subject."""

"""The reader of the Test Anything Protocol that scripts/pjdfstest counts with."""

from __future__ import annotations

from conformance import tap


def test_passed_failed_and_expected_failures() -> None:
    outcome = tap.read("1..4\nok 1 - made\nnot ok 2 - tried 'open', got EIO\nnot ok 3 # TODO later\nok\n")
    assert outcome == tap.Outcome(planned=4, passed=3, failed={2: "tried 'open', got EIO"})
    assert outcome.missing == 0


def test_a_program_that_ends_early_lacks_checks() -> None:
    assert tap.read("1..5\nok 1\nnot ok 2\n").missing == 3


def test_a_program_that_announces_nothing() -> None:
    assert tap.read("sh: no such thing\n").planned is None

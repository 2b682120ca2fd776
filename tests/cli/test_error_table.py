"""The table of exit codes: every name in it exists, every error of the project finds its place in it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

import keyslots
import phone_link
import phonevault
from keyslots.errors import KeyslotsError, NotMine, WrongPassphrase
from phone_link.errors import LinkError, PhoneAbsent, PhoneError, PinIncorrect
from phonevault import errors
from phonevault.errors import EXIT_CODES, EXIT_OS_ERROR, describe, exit_code_of
from phonevault.fs.errors import DirectoryIdDamaged
from phonevault.fuse.errors import FuseError


def resolve(name: str) -> type[BaseException]:
    module, _, cls = name.rpartition(".")
    found = getattr(importlib.import_module(module), cls)
    assert isinstance(found, type)
    assert issubclass(found, BaseException)
    return found


def error_classes() -> Iterator[type[BaseException]]:
    """Every public exception class of the three packages, but for the phone's own program."""
    for package in (keyslots, phone_link, phonevault):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if module.name.startswith(
                ("phone_link.phone", "phone_link.virtual", "phone_link.transport.bumble")
            ):
                continue
            if module.name.startswith("phone_link.transport.classic"):
                continue
            for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if issubclass(cls, (KeyslotsError, LinkError, errors.PhonevaultError, FuseError)):
                    yield cls


@pytest.mark.parametrize("name", sorted(EXIT_CODES))
def test_every_name_in_the_table_is_a_class_where_it_says(name: str) -> None:
    cls = resolve(name)
    assert f"{cls.__module__}.{cls.__qualname__}" == name
    assert isinstance(getattr(cls, "hint", ""), str)


def test_every_error_has_a_code() -> None:
    for cls in set(error_classes()):
        codes = [EXIT_CODES.get(f"{base.__module__}.{base.__qualname__}") for base in cls.__mro__]
        assert any(code is not None for code in codes), cls


def test_codes_are_in_range_and_leave_room_for_signals() -> None:
    assert all(3 <= code < 126 for code in EXIT_CODES.values())


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (PinIncorrect(1), 51, "wrong PIN, 1 try left"),
        (PhoneError(0x30), 50, "the phone refused (CKR 0x30)"),
        (PhoneAbsent("no phone\nthere"), 41, "no phone there"),  # always one line
        (WrongPassphrase("wrong passphrase"), 14, "wrong passphrase"),
        (NotMine("slot"), 14, "slot"),
        (DirectoryIdDamaged("of another vault"), 12, "of another vault"),
        (PermissionError(13, "Permission denied", "/x"), EXIT_OS_ERROR, "/x: Permission denied"),
    ],
)
def test_an_error_is_described_in_one_line(error: Exception, code: int, message: str) -> None:
    report = describe(error)
    assert report is not None
    assert (report.exit_code, report.message) == (code, message)
    assert "\n" not in report.hint


@pytest.mark.parametrize(
    "bug", [ZeroDivisionError(), KeyError("x"), OSError(5, "I/O error"), AssertionError()]
)
def test_a_bug_is_never_made_polite(bug: Exception) -> None:
    assert exit_code_of(bug) is None
    assert describe(bug) is None


def test_a_reported_error_keeps_its_code() -> None:
    report = errors.ErrorReport("busy", "close it", 25)
    assert describe(errors.ReportedError(report)) == report

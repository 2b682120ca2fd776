"""Python, the cryptography package, and the processor's instructions for AES."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from phonevault.doctor.finding import Finding, fine, problem, warning

OLDEST_PYTHON = (3, 11)
OLDEST_CRYPTOGRAPHY = 50
"""As pyproject.toml says; a test compares the two."""
_CPUINFO = Path("/proc/cpuinfo")
_FLAGS = ("flags", "Features")
"""What /proc/cpuinfo calls the list of a processor's features on x86 and on ARM."""


@dataclass(frozen=True)
class Facts:
    """What was seen.

    Attributes:
        python: Version of the interpreter.
        implementation: "CPython", ….
        cryptography: Version of the package, or None if it cannot be imported.
        openssl: What it calls its OpenSSL.
        features: The processor's, by the kernel; None if the kernel does not list them.
    """

    python: tuple[int, int, int]
    implementation: str
    cryptography: str | None
    openssl: str
    features: frozenset[str] | None


def look() -> list[Finding]:
    """Observe and judge."""
    version, openssl = _cryptography()
    python = (sys.version_info.major, sys.version_info.minor, sys.version_info.micro)
    return judge(Facts(python, platform.python_implementation(), version, openssl, processor_features()))


def judge(facts: Facts) -> list[Finding]:
    """Three findings."""
    return [_python(facts), _package(facts), judge_aes(facts.features)]


def _python(facts: Facts) -> Finding:
    found = f"{facts.implementation} {'.'.join(map(str, facts.python))}"
    oldest = ".".join(map(str, OLDEST_PYTHON))
    if facts.python[:2] < OLDEST_PYTHON:
        return problem("python", found, f"Python {oldest} or newer is needed")
    if facts.implementation != "CPython":
        return warning(
            "python", found, "keys can be wiped from memory only under CPython (docs/threat-model.md 5)"
        )
    return fine("python", found)


def _package(facts: Facts) -> Finding:
    wanted = f"cryptography {OLDEST_CRYPTOGRAPHY} or newer is needed: install phonevault again"
    if facts.cryptography is None:
        return problem("cryptography", "the package cannot be imported", wanted)
    found = f"{facts.cryptography}, {facts.openssl}"
    major = facts.cryptography.partition(".")[0]
    if not major.isdigit() or int(major) < OLDEST_CRYPTOGRAPHY:
        return problem("cryptography", found, wanted)
    return fine("cryptography", found)


def judge_aes(features: frozenset[str] | None) -> Finding:
    """Whether the processor computes AES and GHASH itself."""
    advice = "`phonevault speed` shows what it costs"
    if features is None:
        return warning("aes", "the kernel does not say what the processor can do", advice)
    if "aes" not in features:
        return warning("aes", "the processor has no AES instructions: contents are encrypted slowly", advice)
    multiplies = features & {"pclmulqdq", "pmull"}
    names = sorted(multiplies | features & {"aes", "vaes", "vpclmulqdq"})
    if not multiplies:
        return warning("aes", "AES instructions, but none for GCM's multiplication", advice)
    return fine("aes", f"in hardware ({', '.join(names)})")


def processor_features() -> frozenset[str] | None:
    """Return the features of the first processor in /proc/cpuinfo, None if there is no such line."""
    try:
        text = _CPUINFO.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        name, colon, values = line.partition(":")
        if colon and name.strip() in _FLAGS:
            return frozenset(values.split())
    return None


def _cryptography() -> tuple[str | None, str]:
    try:
        import cryptography
        from cryptography.hazmat.backends.openssl import backend
    except ImportError:
        return None, ""
    return cryptography.__version__, backend.openssl_version_text()

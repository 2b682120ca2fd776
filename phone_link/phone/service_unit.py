"""The text of a systemd user service that serves a store. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from phone_link.errors import SpecError
from phone_link.phone import exit_codes

NOT_HELPED_BY_AGAIN = (2, *sorted({code for _, code, _ in exit_codes.EXIT_CODES} - {2, 9, 11, 12}))
"""Exit codes after which starting again is of no use, or costs a try of the PIN. 11 is: Bluetooth may come back."""

_UNIT = """\
[Unit]
Description=phonevault: the phone that opens vaults
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command}
{credential}Restart=on-failure
RestartSec=5
RestartPreventExitStatus={not_again}
NoNewPrivileges=yes
LimitCORE=0
UMask=0077

[Install]
WantedBy=default.target
"""


def unit(program: Sequence[str], store: Path, spec: str, pin_file: Path | None) -> str:
    """Return the unit file.

    Args:
        program: what runs `phonevault-phone`; the first word is an absolute path.
        store: absolute path.
        spec: where to listen.
        pin_file: absolute path of a file with the PIN, which systemd reads and hands over; None leaves the keys
            closed until a computer sends the PIN.

    Raises:
        SpecError: a path has a line break, which a unit file cannot hold.
    """
    words = [*program, "serve", str(store), "--listen", spec, "--approve", "auto"]
    command = " ".join(quoted(word) for word in words)
    credential = ""
    if pin_file is not None:
        command += " --pin-file %d/pin"
        credential = f"LoadCredential=pin:{_checked(str(pin_file)).replace('%', '%%')}\n"
    return _UNIT.format(
        command=command, credential=credential, not_again=" ".join(str(code) for code in NOT_HELPED_BY_AGAIN)
    )


def quoted(word: str) -> str:
    """Return a word for ExecStart (systemd.syntax(7), systemd.service(5)): `%` and `$` doubled, in quotes."""
    escaped = _checked(word).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _checked(text: str) -> str:
    if not text.isprintable():
        raise SpecError("a systemd unit cannot hold line breaks and control characters")
    return text

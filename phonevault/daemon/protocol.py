"""The messages on the control socket: one JSON object a line, strict both ways. No I/O.

A request is one line, followed, for an unlock with a secret, by exactly `secret_bytes` raw bytes: a
passphrase or a recovery code never becomes part of JSON text. The answer is one line. Then the connection
ends.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from phonevault.errors import ControlError, ErrorReport

VERSION = 1
MAX_REQUEST_BYTES = 32768
MAX_PATH_BYTES = 4096
MAX_ANSWER_BYTES = 1 << 20
MAX_SECRET_BYTES = 1024
_COMMON = ("op", "method", "secret_bytes")

EXTRA: dict[str, tuple[str, ...]] = {
    "status": (),
    "lock": (),
    "unlock": (),
    "unmount": (),
    "rotate": ("kind", "digest", "duty"),
    "rotation": ("change", "duty"),
}
"""The operations, and what a request for each has besides the members that all have."""
KINDS = ("master", "content")
CHANGES = ("pause", "resume", "throttle")
_DIGEST_HEX = re.compile("[0-9a-f]{64}")
METHODS = ("phone", "passphrase", "recovery", "phone+passphrase")


@dataclass(frozen=True)
class Request:
    """What a command asks of the daemon.

    Attributes:
        op: One of `EXTRA`.
        method: For "unlock" and "rotate": one of `METHODS`; else "".
        secret_bytes: For "unlock" and "rotate": how many raw bytes follow the line (0 for the phone); else 0.
        header: For "unlock": absolute path of a header that is kept apart and has moved; else "".
        kind: For "rotate": one of `KINDS`.
        digest: For "rotate": of the header whose slots the user was shown (`phonevault.rotation_kinds.digest_of`).
        change: For "rotation": one of `CHANGES`.
        duty: For "rotate" and "throttle": the share of the time that is worked, at most 1; 0 for "as it is", otherwise above.
    """

    op: str
    method: str = ""
    secret_bytes: int = 0
    header: str = ""
    kind: str = ""
    digest: str = ""
    change: str = ""
    duty: float = 0


Answer = dict[str, Any]


def encode_request(request: Request) -> bytes:
    """Return the line for a request."""
    _check(request)
    fields = asdict(request)
    names = [*_COMMON, *EXTRA[request.op]]
    if request.header:  # a daemon that does not know the member takes every request without it
        names.append("header")
    return _line({"version": VERSION, **{name: fields[name] for name in names}})


def parse_request(line: bytes) -> Request:
    """Read a request's line, without its line feed.

    Raises:
        ControlError: It is not exactly what `encode_request` makes, but for white space and the order of
        members.
    """
    fields = _object(line, MAX_REQUEST_BYTES)
    op = fields.get("op")
    extra = EXTRA.get(op, ()) if isinstance(op, str) else ()
    if set(fields) - {"header"} != {"version", *_COMMON, *extra} or fields.get("header") == "":
        raise ControlError("control request with unknown or missing members")
    version = fields.pop("version")
    if version != VERSION or isinstance(version, bool):
        raise ControlError("control request of another version", "restart the mount with this version")
    request = Request(**fields)
    _check(request)
    return request


def encode_answer(result: Answer) -> bytes:
    """Return the line for a success."""
    return _line({"ok": True, "result": result})


def encode_error(report: ErrorReport) -> bytes:
    """Return the line for a failure."""
    return _line({"ok": False, "error": asdict(report)})


def parse_answer(line: bytes) -> Answer | ErrorReport:
    """Read an answer's line, without its line feed.

    Raises:
        ControlError: It is neither a success nor a failure as this module encodes them.
    """
    fields = _object(line, MAX_ANSWER_BYTES)
    if set(fields) == {"ok", "result"} and fields["ok"] is True and isinstance(fields["result"], dict):
        return fields["result"]
    if set(fields) == {"ok", "error"} and fields["ok"] is False:
        return _report(fields["error"])
    raise ControlError("the mount daemon's answer is malformed")


def _report(fields: object) -> ErrorReport:
    if isinstance(fields, dict) and set(fields) == {"message", "hint", "exit_code"}:
        message, hint, code = fields["message"], fields["hint"], fields["exit_code"]
        if isinstance(message, str) and isinstance(hint, str) and type(code) is int and 0 < code < 256:
            return ErrorReport(message, hint, code)
    raise ControlError("the mount daemon's answer is malformed")


def _check(request: Request) -> None:
    if not isinstance(request.op, str) or request.op not in EXTRA:
        raise ControlError("control request for an unknown operation")
    opens = request.op in ("unlock", "rotate")
    if request.method not in (METHODS if opens else ("",)):
        raise ControlError("control request with an unknown method")
    _check_header(request.header, allowed=request.op == "unlock")
    needs_secret = opens and request.method != "phone"
    if type(request.secret_bytes) is not int:
        raise ControlError("control request with a malformed length")
    low, high = (1, MAX_SECRET_BYTES) if needs_secret else (0, 0)
    if not low <= request.secret_bytes <= high:
        raise ControlError(f"a secret must have 1 to {MAX_SECRET_BYTES} bytes")
    _check_rotation(request)


def _check_rotation(request: Request) -> None:
    rotate, throttle = request.op == "rotate", request.change == "throttle"
    if request.kind not in (KINDS if rotate else ("",)):
        raise ControlError("control request for an unknown kind of rotation")
    if not isinstance(request.digest, str) or bool(_DIGEST_HEX.fullmatch(request.digest)) != rotate:
        raise ControlError("control request with a malformed digest of a header")
    if request.change not in (CHANGES if request.op == "rotation" else ("",)):
        raise ControlError("control request for an unknown change of a rotation")
    if type(request.duty) not in (int, float) or not 0 <= request.duty <= 1:
        raise ControlError("control request with a malformed duty")
    if (request.duty == 0 and throttle) or (request.duty != 0 and not (rotate or throttle)):
        raise ControlError("control request with a duty that does not belong there")


def _check_header(path: object, *, allowed: bool) -> None:
    if not isinstance(path, str) or (path and not allowed):
        raise ControlError("control request with a malformed header")
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:
        raise ControlError("control request with a malformed header") from None
    if path and (not path.startswith("/") or "\0" in path or len(raw) > MAX_PATH_BYTES):
        raise ControlError("control request with a malformed header")


def _object(line: bytes, limit: int) -> dict[str, Any]:
    if len(line) > limit:
        raise ControlError("control message too long")
    try:
        found = json.loads(line.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ControlError("control message is not JSON") from error
    if not isinstance(found, dict):
        raise ControlError("control message is not a JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("member given twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"

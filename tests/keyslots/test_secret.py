from __future__ import annotations

import copy
import gc
import hmac
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from keyslots import memory
from keyslots import secret as secret_module
from keyslots.secret import Secret

PATTERN = bytes(range(1, 33))


def smaps_flags(address: int) -> set[str]:
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        if match:
            inside = int(match[1], 16) <= address < int(match[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return set(line.split()[1:])
    raise AssertionError("address not mapped")


def address_of(secret: Secret) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(secret.view))


def locked_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"^VmLck:\s+(\d+) kB", status, re.M)[1])


def test_pages_are_locked_kept_out_of_dumps_and_wiped_in_children() -> None:
    before = locked_kib()
    secret = Secret(32)
    assert secret.locked
    assert locked_kib() - before == os.sysconf("SC_PAGESIZE") // 1024
    assert {"dd", "lo", "wf"} <= smaps_flags(address_of(secret))
    secret.wipe()
    assert locked_kib() == before


def test_without_permission_to_lock_it_works_and_says_so() -> None:
    code = (
        "import os, resource\n"
        "from keyslots.secret import Secret\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))\n"
        "os.getuid() == 0 and os.setuid(65534)\n"
        "s = Secret.random(32)\n"
        "print(s.locked, len(set(s.view)) > 8)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_a_forked_child_sees_zeros() -> None:
    secret = Secret.take(bytearray(PATTERN))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, bytes(secret.view))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 64) == bytes(32)
    assert bytes(secret.view) == PATTERN
    os.close(read)
    os.close(write)


def test_take_wipes_its_source() -> None:
    source = bytearray(PATTERN)
    secret = Secret.take(source)
    assert source == bytes(32)
    assert bytes(secret.view) == PATTERN


def test_take_of_nothing_fails() -> None:
    with pytest.raises(ValueError, match="1 to 65536"):
        Secret.take(bytearray())


def test_wipe_zeroes_what_a_view_still_shows() -> None:
    secret = Secret.take(bytearray(PATTERN))
    view = secret.view
    secret.wipe()
    secret.wipe()
    assert secret.wiped
    assert bytes(view) == bytes(32)
    with pytest.raises(ValueError, match="wiped"):
        _ = secret.view


def test_deleting_wipes(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret.take(bytearray(PATTERN))
    before = locked_kib()
    wiped = []
    monkeypatch.setattr(secret_module._Pages, "__setitem__", lambda pages, where, data: wiped.append(data))
    del secret
    gc.collect()
    assert wiped == [bytes(os.sysconf("SC_PAGESIZE"))]
    assert locked_kib() < before


def test_a_view_keeps_the_bytes_of_a_secret_that_nobody_wiped() -> None:
    view = Secret.take(bytearray(PATTERN)).view
    gc.collect()
    assert bytes(view) == PATTERN


def test_leaving_a_with_block_wipes_also_on_an_error() -> None:
    with pytest.raises(KeyError), Secret.take(bytearray(PATTERN)) as secret:
        raise KeyError
    assert secret.wiped


def test_nothing_that_prints_shows_a_byte() -> None:
    secret = Secret.take(bytearray(b"\x41" * 32))
    shown = [repr(secret), str(secret), f"{secret}", "%s" % secret, f"{secret!r:>40}", repr([secret])]  # noqa: UP031
    assert not any("AA" in text or "41" in text for text in shown)
    assert all("Secret of 32 bytes" in text for text in shown)


@pytest.mark.parametrize(
    "leak",
    [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, bytes, list, vars, hash],
    ids=lambda f: f.__name__,
)
def test_nothing_that_copies_works(leak: object) -> None:
    with pytest.raises(TypeError) as info:
        leak(Secret.take(bytearray(PATTERN)))  # type: ignore[operator]
    assert PATTERN.decode("latin-1") not in str(info.value)


def test_equality_compares_bytes_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: calls.append(1) or compare(a, b))
    one, same, other = (Secret.take(bytearray(b)) for b in (PATTERN, PATTERN, PATTERN[::-1]))
    assert one == same
    assert one != other
    assert len(calls) == 2
    assert one != PATTERN  # a Secret is only equal to a Secret


def test_random_fills_every_byte() -> None:
    seen = [set() for _ in range(33)]
    for _ in range(40):
        for position, byte in enumerate(Secret.random(33).view):
            seen[position].add(byte)
    assert all(len(values) > 4 for values in seen)


def test_a_copy_has_pages_of_its_own() -> None:
    secret = Secret.take(bytearray(PATTERN))
    other = secret.copy()
    secret.wipe()
    assert bytes(other.view) == PATTERN


def test_wipe_bytes_and_str_overwrite_in_place() -> None:
    raw = bytes(bytearray(PATTERN))
    memory.wipe_bytes(raw)
    assert raw == bytes(32)
    for text in ("secret words", "sécrèt wörds", "пароль и слово", "🔑 and 🔒"):
        fresh = "".join(list(text))
        neighbour = "".join(list(text))
        memory.wipe_str(fresh)
        assert [ord(character) for character in fresh] == [0] * len(text)
        assert neighbour == text


def test_single_bytes_and_characters_are_shared_and_left_alone() -> None:
    memory.wipe_bytes(b"A"[:1])
    memory.wipe_str("A"[:1])
    assert bytes([65]) == b"A"
    assert chr(65) == "A"


def test_scrubbing_the_stack_harms_nothing() -> None:
    def deep(n: int) -> int:
        memory.scrub_stack()
        return 0 if n == 0 else 1 + max(map(deep, [n - 1]))

    assert deep(20) == 20

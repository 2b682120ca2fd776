"""Making a new store: all of it, or nothing."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from phone_link.phone.atomic import replace_file, sync_directory
from phone_link.phone.clock import utc_now
from phone_link.phone.errors import StoreExists, StoreMissing
from phone_link.phone.labels import PIN_WRAP, PUK_WRAP
from phone_link.phone.log import Event, LogEntry, UnlockLog
from phone_link.phone.module import NewKey
from phone_link.phone.objects import KeyDescription
from phone_link.phone.pin import MASTER_KEY_BYTES, check_new_pin, new_puk, wrap_master_key
from phone_link.phone.software import SoftwareModule
from phone_link.phone.store import KEYS, PHONE_FILE, Store
from phone_link.phone.store_format import Argon2Cost, PhoneFile


@dataclass(frozen=True)
class NewStore:
    """A store just made. `puk` is shown or written once, then wiped by the caller."""

    store: Store
    key: KeyDescription | None
    puk: bytearray = field(repr=False)


def create_store(
    path: Path, name: str, pin: bytearray, *, key: NewKey | None, cost: Argon2Cost | None = None
) -> NewStore:
    """Make a store with a PIN, a PUK and, unless `key` is None, an RSA key pair.

    It is built beside `path` and renamed, so a failure leaves nothing. `path` may be an empty directory.

    Raises:
        StoreExists: something is there.
        StoreMissing: the parent directory is not there.
        PinUnusable: the PIN is not acceptable.
    """
    check_new_pin(pin)
    check_place(path)
    path = path.absolute()
    building = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        (building / KEYS).mkdir(parents=True, mode=0o700)
        os.chmod(building, 0o700)
        made = _fill(Store(building), name, pin, key, cost or Argon2Cost())
        sync_directory(building)
        os.rename(building, path)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    sync_directory(path.parent)
    return NewStore(Store(path), made.key, made.puk)


def check_place(path: Path) -> None:
    """Refuse a path where no store can be made: `StoreExists`, `StoreMissing`."""
    path = path.absolute()
    if os.path.lexists(path) and not _is_empty_directory(path):
        raise StoreExists(f"{path} exists already")
    if not path.parent.is_dir():
        raise StoreMissing(f"{path.parent} is not a directory", hint="make it first")


def _fill(store: Store, name: str, pin: bytearray, key: NewKey | None, cost: Argon2Cost) -> NewStore:
    master, puk, store_id = bytearray(os.urandom(MASTER_KEY_BYTES)), new_puk(), os.urandom(16)
    phone = PhoneFile(
        store_id=store_id,
        name=name,
        created=utc_now(),
        static_private=os.urandom(32),  # any 32 bytes are an X25519 private key (RFC 7748 5)
        pin=wrap_master_key(master, pin, PIN_WRAP, store_id, cost),
        puk=wrap_master_key(master, puk, PUK_WRAP, store_id, cost),
    )
    replace_file(store.path / PHONE_FILE, phone.encode())
    module = SoftwareModule(store)
    module.login_with_master(master)
    try:
        made = None if key is None else module.generate(key)
    finally:
        module.logout()
    UnlockLog(store.path).append(LogEntry(Event.INIT))
    return NewStore(store, made, puk)


def _is_empty_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())

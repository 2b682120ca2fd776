"""Trying a PIN or PUK: each try is counted on disk before it is made.

The counter goes down and is synced first, and back up only after the right secret, all under the
store's lock: neither cutting the power nor several tries at a time give an extra one.
"""

from __future__ import annotations

from dataclasses import replace

from phone_link.errors import PinIncorrect, PinLocked
from phone_link.phone.labels import PIN_WRAP, PUK_WRAP
from phone_link.phone.pin import WrongSecret, check_new_pin, unwrap_master_key, wrap_master_key
from phone_link.phone.store import Store, Transaction
from phone_link.phone.store_format import PIN_TRIES, PUK_TRIES
from phone_link.wipe import wipe


class PukLocked(PinLocked):
    """Too many wrong PUKs: the keys of this store cannot be used again."""

    hint = "make a new store and pair again; vaults open with their recovery code"


def open_with_pin(store: Store, pin: bytearray) -> bytearray:
    """Return the master key (the caller wipes it).

    Raises:
        PinIncorrect: wrong, with the tries left.
        PinLocked: no try was left, or this was the last one.
    """
    with store.transaction() as transaction:
        return _try_pin(transaction, pin)


def change_pin(store: Store, old: bytearray, new: bytearray) -> None:
    """Set a new PIN; errors as `open_with_pin`, `PinUnusable` for the new one (nothing is counted then)."""
    check_new_pin(new)
    with store.transaction() as transaction:
        master = _try_pin(transaction, old)
        _set_pin(transaction, master, new)


def unblock(store: Store, puk: bytearray, new_pin: bytearray) -> None:
    """Set a new PIN with the PUK.

    Raises:
        PinUnusable: the new PIN is not acceptable (nothing is counted).
        PinIncorrect: wrong PUK, with the tries left.
        PukLocked: no try was left, or this was the last one.
    """
    check_new_pin(new_pin)
    with store.transaction() as transaction:
        tries = transaction.phone.puk_tries
        if tries == 0:
            raise PukLocked("the PUK is blocked")
        transaction.write(replace(transaction.phone, puk_tries=tries - 1))
        phone = transaction.phone
        try:
            master = unwrap_master_key(phone.puk, puk, PUK_WRAP, phone.store_id)
        except WrongSecret:
            if tries == 1:
                raise PukLocked("wrong PUK; it is blocked now") from None
            raise PinIncorrect(tries - 1, f"wrong PUK, {_left(tries - 1)}") from None
        transaction.write(replace(phone, puk_tries=PUK_TRIES))
        _set_pin(transaction, master, new_pin)


def _try_pin(transaction: Transaction, pin: bytearray) -> bytearray:
    tries = transaction.phone.pin_tries
    if tries == 0:
        raise PinLocked()
    transaction.write(replace(transaction.phone, pin_tries=tries - 1))
    phone = transaction.phone
    try:
        master = unwrap_master_key(phone.pin, pin, PIN_WRAP, phone.store_id)
    except WrongSecret:
        if tries == 1:
            raise PinLocked("wrong PIN; it is blocked now") from None
        raise PinIncorrect(tries - 1) from None
    transaction.write(replace(phone, pin_tries=PIN_TRIES))
    return master


def _set_pin(transaction: Transaction, master: bytearray, pin: bytearray) -> None:
    """Wrap the master key under a new PIN, allow all tries again, and wipe the master key."""
    phone = transaction.phone
    try:
        wrapped = wrap_master_key(master, pin, PIN_WRAP, phone.store_id, phone.pin.cost)
    finally:
        wipe(master)
    transaction.write(replace(phone, pin=wrapped, pin_tries=PIN_TRIES))


def _left(tries: int) -> str:
    return f"{tries} {'try' if tries == 1 else 'tries'} left"

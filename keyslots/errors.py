"""Errors of the header and its slots: one hierarchy, one-line messages, no secret in any of them.

docs/format.md 1.1 fixes which finding is which error: damage, tampering, a newer version and a wrong secret
are four different things and never shown as one another.
"""

from __future__ import annotations


class KeyslotsError(Exception):
    """Base of every error of keyslots. `hint` is a second line for people, or empty."""

    hint: str = ""

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class NotAVault(KeyslotsError):
    """There is neither a header nor a `tree` where a vault was expected."""

    hint = "is this the folder that `phonevault create` made?"


class HeaderDamaged(KeyslotsError):
    """No sound copy of the header is left (bit rot, a torn or missing copy)."""

    hint = "put it back from a backup: `phonevault header restore VAULT FILE`"


class HeaderMissing(HeaderDamaged):
    """There is a tree, and no copy of a header in the vault."""

    hint = "is it kept apart? --header FILE; if it is lost, put a backup back: `phonevault header restore VAULT FILE`"


class HeaderTampered(KeyslotsError):
    """The header was changed by someone without the key, or by a broken program."""

    hint = "someone with write access to the vault changed its header: do not use it, restore a backup"


class HeaderTooNew(KeyslotsError):
    """The header has a version or a feature flag that this program does not know."""

    hint = "a newer phonevault made this vault: update this one"


class HeaderUnreadable(KeyslotsError):
    """The operating system refused to read the header (permissions)."""


class HeaderAway(HeaderUnreadable):
    """A header that is kept apart is not where it was said to be."""

    hint = "attach the medium that it is on, or say where it is: --header FILE"


class HeaderWriteFailed(KeyslotsError):
    """A copy of the header could not be written. At least one sound copy is left."""


class HeaderBusy(KeyslotsError):
    """Another program holds the lock on the header."""

    hint = "another phonevault command is changing this vault: wait for it"


class HeaderChanged(KeyslotsError):
    """The header on disk is not the one this change was made from."""

    hint = "another command changed the vault meanwhile: run this one again"


class WrongKey(KeyslotsError):
    """The secret given does not open this vault."""


class WrongPassphrase(WrongKey):
    """The passphrase fits no slot."""


class WrongRecoveryCode(WrongKey):
    """The recovery code is well formed and fits no slot."""

    hint = "is it the code of this vault?"


class WrongPhone(WrongKey):
    """The phone holds the key of no slot."""

    hint = "phonevault info VAULT shows whose phones open it"


class NotMine(WrongKey):
    """The secret does not fit this one slot; another slot may fit."""


class NoSuchSlot(KeyslotsError):
    """The header has no slot with that id."""

    hint = "`phonevault slot list VAULT` shows the slots"


class LastSlot(KeyslotsError):
    """The slot cannot be removed: no other is known to open the vault."""

    hint = "add another slot first: `phonevault slot add VAULT`"


class OtherVault(KeyslotsError):
    """A header belongs to another vault than the one it was to be put into."""

    hint = "`phonevault info` shows a vault's id; nothing was changed"


class BadRecoveryCode(KeyslotsError, ValueError):
    """What was typed is no recovery code: length, a character, or the checksum is wrong."""

    hint = "nine groups of four characters, as printed when the vault was made; look for a typing error"


class BadPassphrase(KeyslotsError, ValueError):
    """The passphrase is empty, too long or not UTF-8."""


class BadParameter(KeyslotsError, ValueError):
    """A value that should go into a header breaks a bound of docs/format.md."""


class KdfMemory(KeyslotsError):
    """There is not enough memory for the passphrase's key derivation."""

    hint = "the slot was made on a machine with more memory: use another slot, or free some memory"

"""Errors of the phone's own store and agent (what goes wrong on the link is in `phone_link.errors`)."""

from __future__ import annotations

from phone_link.errors import LinkError


class StoreError(LinkError):
    """The store cannot be used."""


class StoreMissing(StoreError):
    """There is no store at that path."""

    hint = "make one with: phonevault-phone init STORE"


class StoreExists(StoreError):
    """There is something at that path already."""

    hint = "choose another path, or remove the old store if you are sure"


class StoreDamaged(StoreError):
    """A file of the store is not what this program wrote."""

    hint = "use a backup of the store, or make a new one and pair again"


class StoreTooNew(StoreError):
    """The store was made by a newer version."""

    hint = "update phonevault on this phone"


class StoreUnsafe(StoreError):
    """Other users of this machine can read the store."""

    hint = "chmod -R go= STORE"


class PinUnusable(StoreError):
    """A new PIN is not acceptable, or a PIN could not be read."""

    hint = "a PIN has 4 to 16 printable characters without spaces"


class AgentRunning(StoreError):
    """Another agent serves this store already."""

    hint = "stop the other phonevault-phone serve first"


class AgentNotRunning(StoreError):
    """No agent serves this store."""

    hint = "start one with: phonevault-phone serve STORE --listen SPEC"


class UnknownComputer(StoreError):
    """No paired computer has that name or id."""

    hint = "see the list with: phonevault-phone status STORE"


class UnknownVault(StoreError):
    """This phone remembers no vault with that id."""

    hint = "see the list with: phonevault-phone status STORE"


class CannotListen(StoreError):
    """The place where computers should connect is taken or not there."""

    hint = "is another program listening there, or the adapter off?"

"""From a slot secret to a verified header and its volume master keys."""

from __future__ import annotations

from types import TracebackType

from .derive import header_key
from .envelope import SealedHeader, verify_mac
from .header import Header, Slot
from .secret import Secret
from .wrap import unwrap_slot


class OpenedHeader:
    """A header whose MAC is verified, and the keys that came out of it. Wipe it, or use `with`.

    Attributes:
        header: what was verified.
        slot: the slot that opened it.
        vmks: volume master keys by epoch.
    """

    def __init__(self, header: Header, slot: Slot, vmks: dict[int, Secret]) -> None:
        self.header = header
        self.slot = slot
        self.vmks = vmks

    @property
    def vmk(self) -> Secret:
        """Volume master key of the current epoch."""
        return self.vmks[self.header.epochs.current]

    def header_key(self) -> Secret:
        """Return the key of the header's MAC; the caller wipes it."""
        return header_key(self.vmk, self.header.vault_id)

    def wipe(self) -> None:
        """Wipe all volume master keys."""
        for vmk in self.vmks.values():
            vmk.wipe()

    def __enter__(self) -> OpenedHeader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wipe()


def open_slot(sealed: SealedHeader, slot: Slot, slot_secret: Secret) -> OpenedHeader:
    """Unwrap the volume master keys of `slot` and verify the header's MAC. `slot_secret` stays the caller's.

    Raises:
        HeaderTampered: a wrapped key does not open under the right slot secret, or the MAC is wrong.
    """
    opened = OpenedHeader(sealed.header, slot, unwrap_slot(sealed.header, slot, slot_secret))
    try:
        with opened.header_key() as key:
            verify_mac(sealed, key)
    except BaseException:
        opened.wipe()
        raise
    return opened

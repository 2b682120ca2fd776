"""Errors of the phone link: one hierarchy, one-line messages fit for people, hints where one helps.

No message ever contains a secret.
"""

from __future__ import annotations

CKR_KEY_HANDLE_INVALID = 0x60
CKR_ENCRYPTED_DATA_INVALID = 0x40
CKR_FUNCTION_CANCELED = 0x50
CKR_PIN_INCORRECT = 0xA0
CKR_PIN_LOCKED = 0xA4
CKR_USER_NOT_LOGGED_IN = 0x101
CKR_FUNCTION_REJECTED = 0x200
CKR_UNKNOWN_PEER = 0x80000001
"""CKR_VENDOR_DEFINED + 1: the phone does not know the computer that opens a channel."""
CKR_PAIRING_MISMATCH = 0x80000002
"""CKR_VENDOR_DEFINED + 2: the revealed value does not fit the commitment made before."""
CKR_HEADER_OLD = 0x80000003
"""CKR_VENDOR_DEFINED + 3: the phone knows a newer header of the vault."""
CKR_HEADER_FORKED = 0x80000004
"""CKR_VENDOR_DEFINED + 4: the phone knows another header of the same generation."""
CKR_VAULT_SUBSTITUTED = 0x80000005
"""CKR_VENDOR_DEFINED + 5: the vault's keys are not those that the phone knows it by."""


class LinkError(Exception):
    """Base of every error of the link. `hint` is a second line for people, empty if there is none."""

    hint: str = ""

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class SpecError(LinkError, ValueError):
    """A transport spec string is malformed or names an unknown scheme."""

    hint = "a phone's address looks like bluetooth:AA:BB:CC:DD:EE:FF, serial:/dev/ttyACM0, tcp:HOST:PORT or unix:PATH"


class LinkClosed(LinkError):
    """The peer is gone, or this side closed the stream."""

    hint = "the phone went out of range or its phonevault program ended: try again when it is back"


class LinkTimeout(LinkError):
    """The peer did not answer in time. After a timed-out command the link is closed."""

    hint = "is the phone in range, and no question waiting on its screen?"


class PhoneAbsent(LinkError):
    """Nothing answers at the phone's address."""

    hint = "is the phone in range, switched on, and its phonevault program running?"


class BluetoothUnavailable(LinkError):
    """This computer's Bluetooth service (bluetoothd, reached over the system's D-Bus) does not run."""

    hint = "install and start BlueZ: apt-get install bluez; systemctl start bluetooth"


class BluetoothDenied(LinkError):
    """The system does not let this user talk to its Bluetooth service."""

    hint = "log in on the machine itself, or add the user to the group bluetooth and log in again"


class AdapterMissing(LinkError):
    """The Bluetooth service knows no adapter."""

    hint = "is an adapter plugged in, and not given to a virtual machine? bluetoothctl list shows them"


class AdapterOff(LinkError):
    """The Bluetooth adapter is switched off, or blocked."""

    hint = "switch it on: rfkill unblock bluetooth; bluetoothctl power on"


class BluetoothBusy(LinkError):
    """Another program of this computer has the Bluetooth link to the phone, or is building it up."""

    hint = "a mounted vault holds the only link to its phone: unmount it, or wait a moment, then try again"


class ServiceMissing(LinkError):
    """The phone is there, but offers no phonevault service."""

    hint = "is phonevault running on the phone? phonevault-phone serve … --listen bluetooth:"


class ProtocolError(LinkError):
    """Bytes from the peer (or a value given by the caller) break the grammar or a bound."""


class ChannelError(LinkError):
    """A handshake or the authentication of a message failed: the link is not to be trusted and is closed."""

    hint = "someone may be in the middle of the link, or one side lost its keys: try again, then pair again"


class UnknownPeer(LinkError):
    """The phone does not know this computer, or this computer does not know the phone."""

    hint = "pair again: phonevault phone pair SPEC"


class BondMissing(UnknownPeer):
    """Phone and computer are not (or no longer) paired on the level of Bluetooth, below phonevault's own."""

    hint = "pair again, on this computer: phonevault phone pair bluetooth:"


class UnknownPhone(LinkError):
    """No paired phone has this name, or none is paired, or several are and no name was given."""

    hint = "phonevault phone list shows the paired phones"


class PairingRefused(LinkError):
    """One of the users did not agree or answer, or the phone does not accept pairing now."""

    hint = "the phone must be waiting for a new computer (phonevault-phone serve … asks on its screen, and takes no answer for no)"


class PairingMismatch(LinkError):
    """The codes differ or a commitment does not fit: someone may be in the middle."""

    hint = "do not continue on this link; try again, nearer to the phone"


class PhoneError(LinkError):
    """The phone refused a command with a PKCS#11 return value.

    Attributes:
        ckr: the CKR value (PKCS#11 v2.40; 0x80000000 and above are phonevault's own).
    """

    ckr: int

    def __init__(self, ckr: int, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message or f"the phone refused (CKR 0x{ckr:X})", hint=hint)
        self.ckr = ckr


class PinIncorrect(PhoneError):
    """CKR_PIN_INCORRECT. `tries_left` is None if the phone does not say."""

    hint = "after the last try the phone blocks its PIN until it is given its PUK"

    def __init__(self, tries_left: int | None = None, message: str = "") -> None:
        left = "" if tries_left is None else f", {tries_left} {'try' if tries_left == 1 else 'tries'} left"
        super().__init__(CKR_PIN_INCORRECT, message or f"wrong PIN{left}")
        self.tries_left = tries_left


class PinLocked(PhoneError):
    """CKR_PIN_LOCKED: too many wrong PINs."""

    hint = "give it a new PIN with its PUK, on the phone: phonevault-phone unblock STORE"

    def __init__(self, message: str = "") -> None:
        super().__init__(CKR_PIN_LOCKED, message or "the phone's PIN is blocked")


class PinRequired(PhoneError):
    """CKR_USER_NOT_LOGGED_IN: the PIN has to be entered first."""

    hint = "enter the PIN on the phone"

    def __init__(self, message: str = "") -> None:
        super().__init__(CKR_USER_NOT_LOGGED_IN, message or "the phone wants its PIN first")


class UserRefused(PhoneError):
    """CKR_FUNCTION_REJECTED: the phone's user or its policy said no."""

    hint = "say yes on the phone when it asks; a phone that was locked must be unlocked on the phone first"

    def __init__(self, message: str = "") -> None:
        super().__init__(CKR_FUNCTION_REJECTED, message or "refused on the phone")


class KeyNotFound(PhoneError):
    """CKR_KEY_HANDLE_INVALID: the phone has no such key."""

    hint = "was the store on the phone made anew? then pair again: phonevault phone pair SPEC"

    def __init__(self, message: str = "") -> None:
        super().__init__(CKR_KEY_HANDLE_INVALID, message or "the phone does not have this key")


class DecryptFailed(PhoneError):
    """CKR_ENCRYPTED_DATA_INVALID: the ciphertext does not open under the phone's key."""

    hint = "phonevault info VAULT shows whose phones open it"

    def __init__(self, message: str = "") -> None:
        super().__init__(
            CKR_ENCRYPTED_DATA_INVALID, message or "the phone's key does not open this ciphertext"
        )


_ACCEPT = "if you put a backup back: say yes on the phone when it asks, or there: phonevault-phone accept-header STORE VAULTID"


class HeaderRolledBack(PhoneError):
    """CKR_HEADER_OLD: somebody put an old header back."""

    hint = _ACCEPT

    def __init__(self, message: str = "") -> None:
        super().__init__(
            CKR_HEADER_OLD, message or "the vault's header is older than the one that the phone knows"
        )


class HeaderForked(PhoneError):
    """CKR_HEADER_FORKED: there are two headers of one generation."""

    hint = _ACCEPT

    def __init__(self, message: str = "") -> None:
        super().__init__(
            CKR_HEADER_FORKED,
            message or "the phone knows another header of this vault with the same generation",
        )


class VaultSubstituted(PhoneError):
    """CKR_VAULT_SUBSTITUTED: another vault under the id of one that the phone knows."""

    hint = "somebody may have put a vault of his own in the place of yours: write nothing into it"

    def __init__(self, message: str = "") -> None:
        super().__init__(
            CKR_VAULT_SUBSTITUTED, message or "the vault's keys are not those that the phone knows it by"
        )


_Specific = (
    PinLocked
    | PinRequired
    | UserRefused
    | KeyNotFound
    | DecryptFailed
    | HeaderRolledBack
    | HeaderForked
    | VaultSubstituted
)
_BY_CKR: dict[int, type[_Specific]] = {
    CKR_PIN_LOCKED: PinLocked,
    CKR_USER_NOT_LOGGED_IN: PinRequired,
    CKR_FUNCTION_REJECTED: UserRefused,
    CKR_KEY_HANDLE_INVALID: KeyNotFound,
    CKR_ENCRYPTED_DATA_INVALID: DecryptFailed,
    CKR_HEADER_OLD: HeaderRolledBack,
    CKR_HEADER_FORKED: HeaderForked,
    CKR_VAULT_SUBSTITUTED: VaultSubstituted,
}


def phone_error(ckr: int, tries_left: int | None = None) -> PhoneError:
    """Return the most fitting `PhoneError` for a CKR value; `tries_left` counts only for PIN_INCORRECT."""
    if ckr == CKR_PIN_INCORRECT:
        return PinIncorrect(tries_left)
    specific = _BY_CKR.get(ckr)
    return specific() if specific else PhoneError(ckr)

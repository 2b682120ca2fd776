"""The errors of `phonevault`, and the one table of exit codes.

The table names classes by their dotted path, so that reading it imports nothing: the code of an error is that
of the nearest class in its method resolution order that the table names. An error of which no class is named
is a bug, and is shown as one (with its traceback). `docs/exit-codes.md` says the same for users.
"""

from __future__ import annotations

from dataclasses import dataclass

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_ERROR = 3
EXIT_OS_ERROR = 4
EXIT_REPAIRED = 71
"""`phonevault check --repair` found problems and repaired them all."""
EXIT_INTERRUPTED = 130


class PhonevaultError(Exception):
    """Base of every error that `phonevault` reports in one line.

    Attributes:
        hint: What the user can do about it, one line, or empty.
    """

    hint: str = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class SecretInputError(PhonevaultError):
    """A secret could not be read from where it was said to be (a file, standard input, the terminal)."""


class SettingsError(PhonevaultError):
    """A directory of ours (configuration, state, runtime) is not private or cannot be made."""


class OutputFileError(PhonevaultError):
    """The file for the recovery code exists already or cannot be written."""


class VaultInUse(PhonevaultError):
    """The vault is mounted already: `VAULT/tree` is flocked (format.md 1.5)."""

    hint = "`phonevault status` lists the mounts; --read-only and --shared allow several mounts of one vault"


class RotationUnderWay(PhonevaultError):
    """A rotation of contents was interrupted, and what was asked for does not go together with it."""

    hint = "go on with it: `phonevault rotate content VAULT`"


class CipherUnsupported(PhonevaultError):
    """The vault's cipher is known to the format, but not to this version's file system."""

    hint = "a later version will have it; --cipher aes-256-gcm works now"


class MountpointUnusable(PhonevaultError):
    """The mount point is missing, no directory, not empty, or part of the vault."""

    hint = "give an empty directory of your own"


class MountpointTaken(PhonevaultError):
    """A phonevault mount is there already."""

    hint = "`phonevault status` lists the mounts"


class MountBusy(PhonevaultError):
    """The mount cannot go: programs have files open in it."""


class NotMounted(PhonevaultError):
    """No phonevault mount of this user is there."""

    hint = "`phonevault status` lists the mounts"


class DaemonGone(PhonevaultError):
    """The mount is there, but its daemon has ended without unmounting (killed, crashed)."""

    hint = "`phonevault unmount` removes the dead mount"


class ControlError(PhonevaultError):
    """The control socket's peer broke the protocol or is another user."""


class LockNotVerified(PhonevaultError):
    """The lock was carried out, but keys were still found afterwards."""

    hint = "unmount now: ending the daemon wipes its memory"


class UnlockImpossible(PhonevaultError):
    """The folder cannot be unlocked this way (no phone bound to the mount, or it is not locked)."""


class RotationIncomplete(PhonevaultError):
    """A rotation of keys could not end: damaged files still need an older key, which stays."""

    hint = "`phonevault check` names them; once they are repaired or gone, the same command goes on"


class RotationRefused(PhonevaultError):
    """A rotation cannot be begun or changed: not in this mount, not now, or there is none."""


class ProblemsFound(PhonevaultError):
    """`phonevault doctor` found something that does not work."""

    hint = "the lines marked `problem` say what to do"


class NotMeasurable(PhonevaultError):
    """`phonevault speed` cannot make or mount its trial vault there."""

    hint = (
        "`phonevault speed` without VAULT measures the ciphers alone; `phonevault doctor` looks at the rest"
    )


class VaultNotWhole(PhonevaultError):
    """`phonevault check` found problems, and some are left."""


class ReportedError(PhonevaultError):
    """An error that another process met and reported over a pipe or socket.

    Attributes:
        exit_code: The code that process found for it.
    """

    def __init__(self, report: ErrorReport) -> None:
        super().__init__(report.message, report.hint)
        self.exit_code = report.exit_code


@dataclass(frozen=True)
class ErrorReport:
    """An error as it is shown: one line, an optional second one, and a number."""

    message: str
    hint: str
    exit_code: int


EXIT_CODES: dict[str, int] = {
    "phonevault.errors.PhonevaultError": EXIT_ERROR,
    "keyslots.errors.KeyslotsError": EXIT_ERROR,
    # 5-9: what the command was given
    "phonevault.errors.SecretInputError": 5,
    "keyslots.errors.BadRecoveryCode": 5,
    "keyslots.errors.BadPassphrase": 5,
    "phonevault.errors.OutputFileError": 6,
    "phonevault.errors.SettingsError": 7,
    "phonevault.errors.ControlError": 8,
    # 10-19: the vault
    "keyslots.errors.NotAVault": 10,
    "keyslots.errors.HeaderDamaged": 11,
    "keyslots.errors.HeaderTampered": 12,
    "phonevault.fs.errors.Damaged": 12,
    "keyslots.errors.HeaderTooNew": 13,
    "phonevault.errors.CipherUnsupported": 13,
    "keyslots.errors.WrongKey": 14,
    "phonevault.vault.VaultDirectoryUnusable": 15,
    "keyslots.errors.HeaderUnreadable": 16,
    "keyslots.errors.HeaderWriteFailed": 16,
    "keyslots.errors.HeaderBusy": 17,
    "keyslots.errors.HeaderChanged": 17,
    "keyslots.errors.KdfMemory": 18,
    "keyslots.errors.LastSlot": 19,
    "keyslots.errors.NoSuchSlot": 19,
    "keyslots.errors.OtherVault": 19,
    # 20-32: the mount
    "phonevault.fuse.errors.FuseError": 30,
    "phonevault.fuse.errors.MountpointError": 20,
    "phonevault.errors.MountpointUnusable": 20,
    "phonevault.errors.MountpointTaken": 21,
    "phonevault.errors.VaultInUse": 22,
    "phonevault.errors.RotationUnderWay": 22,
    "phonevault.fuse.errors.FuseUnavailable": 23,
    "phonevault.fuse.errors.FusermountMissing": 24,
    "phonevault.errors.MountBusy": 25,
    "phonevault.fuse.errors.MountBusy": 25,
    "phonevault.errors.NotMounted": 26,
    "phonevault.errors.DaemonGone": 27,
    "phonevault.errors.LockNotVerified": 28,
    "phonevault.errors.UnlockImpossible": 29,
    "phonevault.errors.RotationIncomplete": 31,
    "phonevault.errors.RotationRefused": 32,
    # 40-59: the phone
    "phone_link.errors.LinkError": 40,
    "phone_link.errors.PhoneAbsent": 41,
    "phone_link.errors.LinkClosed": 42,
    "phone_link.errors.LinkTimeout": 42,
    "phone_link.errors.SpecError": 43,
    "phone_link.errors.ProtocolError": 44,
    "phone_link.errors.ChannelError": 45,
    "phone_link.errors.UnknownPeer": 46,
    "phone_link.errors.UnknownPhone": 47,
    "phone_link.errors.PairingRefused": 48,
    "phone_link.errors.PairingMismatch": 49,
    "phone_link.errors.PhoneError": 50,
    "phone_link.errors.PinIncorrect": 51,
    "phone_link.errors.PinLocked": 52,
    "phone_link.errors.PinRequired": 53,
    "phone_link.errors.UserRefused": 54,
    "phone_link.errors.KeyNotFound": 55,
    "phone_link.errors.DecryptFailed": 56,
    "phone_link.errors.HeaderRolledBack": 57,
    "phone_link.errors.HeaderForked": 58,
    "phone_link.errors.VaultSubstituted": 59,
    # 60-69: this computer
    "phonevault.errors.ProblemsFound": 60,
    "phonevault.errors.NotMeasurable": 61,
    # 70-79: the check of a vault
    "phonevault.errors.VaultNotWhole": 70,
    # 80-86: Bluetooth
    "phone_link.errors.BluetoothUnavailable": 80,
    "phone_link.errors.BluetoothDenied": 81,
    "phone_link.errors.AdapterMissing": 82,
    "phone_link.errors.AdapterOff": 83,
    "phone_link.errors.BluetoothBusy": 84,
    "phone_link.errors.ServiceMissing": 85,
    "phone_link.errors.BondMissing": 86,
}


def exit_code_of(error: BaseException) -> int | None:
    """Return the exit code for an error, or None if it is a bug (no class of it is in the table)."""
    if isinstance(error, ReportedError):
        return error.exit_code
    for cls in type(error).__mro__:
        code = EXIT_CODES.get(f"{cls.__module__}.{cls.__qualname__}")
        if code is not None:
            return code
    if isinstance(error, OSError) and error.filename is not None:
        return EXIT_OS_ERROR
    return None


def describe(error: BaseException) -> ErrorReport | None:
    """Return what to show for an error, or None if it is a bug.

    An `OSError` that names a file is the machine's answer (permission denied, disk full) and is shown as
    such; one that names none was not expected by anybody and is a bug.
    """
    code = exit_code_of(error)
    if code is None:
        return None
    if isinstance(error, OSError) and error.strerror is not None:
        message = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    else:
        message = " ".join(str(error).split())
    hint = getattr(error, "hint", "")
    return ErrorReport(message, " ".join(str(hint).split()), code)

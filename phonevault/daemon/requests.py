"""Carries out what comes over the control socket, and says how the mount is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyslots.errors import HeaderChanged
from phonevault.daemon.clock import boottime_s
from phonevault.daemon.keys import Identified
from phonevault.daemon.link import Errand, Link
from phonevault.daemon.protocol import Answer, Request
from phonevault.daemon.rotations import Rotations
from phonevault.daemon.state import Cause, Policy, State
from phonevault.daemon.supervisor import Reply, Supervisor
from phonevault.errors import UnlockImpossible
from phonevault.rotation_kinds import digest_of

if TYPE_CHECKING:
    from phonevault.vault import OpenedVault

LOCK_WAIT_S = 30.0
UNMOUNT_WAIT_S = 60.0
UNLOCK_WAIT_S = 80.0
"""The phone's user may take a minute."""


@dataclass(frozen=True)
class Description:
    """What is fixed about a mount, for `status`.

    Attributes:
        vault: VAULT.
        mountpoint: Canonical path.
        method: What opened it: "phone", "passphrase" or "recovery".
        phone: The phone's name, or None.
        cipher: As in the header.
        read_only: Mounted read-only.
        crash_safe: The death of this process at any moment loses nothing that was acknowledged.
        phones: Names of the phones that hold it open, by the fingerprints of their RSA keys, hex.
    """

    vault: str
    mountpoint: str
    method: str
    phone: str | None
    cipher: str
    read_only: bool
    crash_safe: bool = True
    phones: dict[str, str] = field(default_factory=dict)


class Requests:
    """The handler of the control socket of one mount."""

    def __init__(
        self,
        description: Description,
        policy: Policy,
        supervisor: Supervisor,
        keys: Identified,
        link: Link | None,
        rotations: Rotations,
    ) -> None:
        self._description = description
        self._policy = policy
        self._supervisor = supervisor
        self._keys = keys
        self._link = link
        self._rotations = rotations

    def __call__(self, request: Request, secret: bytearray) -> Answer:
        """Carry out one request; `secret` is wiped by the caller.

        Raises:
            PhonevaultError, KeyslotsError, LinkError: What is reported to the command.
        """
        match request.op:
            case "status":
                return self.status()
            case "lock":
                return self._supervisor.ask_lock(Cause.USER).wait(LOCK_WAIT_S)
            case "unmount":
                return self._supervisor.ask_unmount().wait(UNMOUNT_WAIT_S)
            case "rotate":
                return self._rotate(request, secret)
            case "rotation":
                return self._change_rotation(request)
        moved = Path(request.header) if request.header else None
        if moved is not None and self._supervisor.status.state is not State.LOCKED:
            raise UnlockImpossible(f"it is not locked but {self._supervisor.status.state.value}")
        with self._keys.header_moved(moved):
            return self._unlock(request.method, secret)

    def _unlock(self, method: str, secret: bytearray) -> Answer:
        if method == "phone":
            return self._unlock_by_phone(None)
        if method == "phone+passphrase":
            return self._unlock_by_phone(bytearray(secret))
        return self._unlock_by_secret(method, secret)

    def status(self) -> Answer:
        """The object of `status --json`; answered at once, whatever the supervisor is doing."""
        status, fixed = self._supervisor.status, self._description
        header = self._keys.source.place.file
        left_s = None if status.deadline_s is None else round(max(0.0, status.deadline_s - boottime_s()), 1)
        answer: dict[str, Any] = {
            "vault": fixed.vault,
            "header_file": None if header is None else str(header),
            "mountpoint": fixed.mountpoint,
            "state": status.state.value,
            "phone": fixed.phone,
            "phones": [{"name": name, "key": key} for key, name in fixed.phones.items()],
            "pid": os.getpid(),
            "method": fixed.method,
            "cause": status.cause.value if status.cause is not None else None,
            "bound_to_phone": status.bound,
            "phone_in_range": status.link_up if self._link is not None else None,
            "phone_problem": self._link.problem if self._link is not None else "",
            "locks_in_s": left_s,
            "grace_s": self._policy.grace_s,
            "auto_unlock": self._link is not None and self._policy.auto_unlock,
            "last_error": self._supervisor.last_error,
            "cipher": fixed.cipher,
            "read_only": fixed.read_only,
            "crash_safe": fixed.crash_safe,
            "rotation": self._rotations.status(),
        }
        return answer

    # -- rotation -----------------------------------------------------------------------------------------

    def _rotate(self, request: Request, secret: bytearray) -> Answer:
        """Open the vault anew (that is the authorisation) and begin, or go on."""
        state = self._supervisor.status.state
        if state is not State.UNLOCKED:
            raise UnlockImpossible(f"the folder is {state.value}", "unlock it, then give the command again")
        opened = self._opened(request.method, secret)
        if digest_of(opened.header) != request.digest:
            opened.wipe()
            raise HeaderChanged("the vault's header is not the one whose slots were shown")
        self._rotations.begin(request.kind, opened, request.duty or None).wait(UNLOCK_WAIT_S)
        return self.status()

    def _opened(self, method: str, secret: bytearray) -> OpenedVault:
        if method not in ("phone", "phone+passphrase"):
            return self._keys.by_secret(method, secret)
        if self._link is None:
            raise UnlockImpossible("this mount has no phone", "give --passphrase-file or --recovery-file")
        passphrase = bytearray(secret) if method == "phone+passphrase" else None
        errand = Errand(lambda session: self._keys.by_phone(session, passphrase, "rotate the keys of"))
        try:
            self._link.send(errand)
            opened: OpenedVault = errand.wait(UNLOCK_WAIT_S)
            return opened
        finally:
            if passphrase is not None:
                passphrase[:] = bytes(len(passphrase))

    def _change_rotation(self, request: Request) -> Answer:
        match request.change:
            case "pause":
                self._rotations.pause()
            case "resume":
                self._rotations.resume()
            case _:
                self._rotations.throttle(request.duty)
        return self.status()

    # -- unlocking ----------------------------------------------------------------------------------------

    def _unlock_by_phone(self, passphrase: bytearray | None) -> Answer:
        if self._link is None:
            if passphrase is not None:
                passphrase[:] = bytes(len(passphrase))
            raise UnlockImpossible(
                "this mount has no phone",
                "unlock with --passphrase-file or --recovery-file, or mount again with a phone",
            )
        if passphrase is not None:
            self._link.offer(passphrase)
        try:
            reply = self._supervisor.ask_unlock()
            self._link.kick()
            return reply.wait(UNLOCK_WAIT_S)
        finally:
            self._link.forget_passphrase()

    def _unlock_by_secret(self, method: str, secret: bytearray) -> Answer:
        status = self._supervisor.status
        if status.state is not State.LOCKED:
            raise UnlockImpossible(f"it is not locked but {status.state.value}")
        keys = self._keys.by_secret(method, secret)
        reply = Reply()
        self._supervisor.keys_ready(keys, bound=False, ticket=status.ticket, reply=reply)
        return reply.wait(UNLOCK_WAIT_S)

"""A mount from beginning to end: open the vault, mount, serve until it is unmounted, leave no key behind."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyslots.errors import OtherVault
from phonevault.daemon import state
from phonevault.daemon.clock import boottime_s
from phonevault.daemon.control import ControlServer
from phonevault.daemon.harden import allow_many_files, forbid_dumps
from phonevault.daemon.header_watch import HeaderWatch
from phonevault.daemon.keys import Identified, KeySource
from phonevault.daemon.link import Link, Phone, PhoneSession
from phonevault.daemon.log import log
from phonevault.daemon.requests import Description, Requests
from phonevault.daemon.rotations import Rotations
from phonevault.daemon.signals import held_back
from phonevault.daemon.state import Policy
from phonevault.daemon.supervisor import Supervisor
from phonevault.daemon.treelock import hold_tree
from phonevault.daemon.volume import Volume
from phonevault.daemon.ways import PhoneWay, Way, fingerprint_of, has_slot, open_by, phones_of
from phonevault.fs.errors import DirectoryIdDamaged
from phonevault.fs.format.journal import DIRECTORY as JOURNAL
from phonevault.fuse.errors import FuseError
from phonevault.newest_header import look
from phonevault.paths import control_socket_name, runtime_dir
from phonevault.slot_use import note_use

if TYPE_CHECKING:
    from keyslots.header import Header, Slot
    from keyslots.place import Place
    from phonevault.fs.filesystem import EncryptedFileSystem
    from phonevault.fuse.session import Session
    from phonevault.vault import Mark, OpenedVault

END_TIMEOUT_S = 1.0
"""How long the kernel may take to end the session of a mount that is gone."""


@dataclass(frozen=True)
class MountPlan:
    """What `phonevault mount` was told.

    Attributes:
        place: VAULT and its header, canonical.
        mountpoint: Canonical path, checked.
        policy: When to lock and unlock.
        read_only: The kernel refuses every change.
        allow_other: Other users may enter.
        shared: Other hosts write the ciphertext too.
        suid: Set-id bits and file capabilities count; for root only.
        dev: Device files open; for root only.
        save_power: Processors may sleep between requests.
    """

    place: Place
    mountpoint: Path
    policy: Policy
    read_only: bool = False
    allow_other: bool = False
    shared: bool = False
    suid: bool = False
    dev: bool = False
    save_power: bool = False

    @property
    def vault(self) -> Path:
        """VAULT."""
        return self.place.vault


def mount_and_serve(
    plan: MountPlan, way: Way, ready: Callable[[], None], warn: Callable[[str], None]
) -> None:
    """Mount and serve until the mount is gone.

    Args:
        plan: What to mount where.
        way: How the vault is opened; a secret of it is wiped, whatever happens.
        ready: Called once when the mount is usable.
        warn: Told what the user should know, before `ready`.

    Raises:
        VaultInUse, KeyslotsError, LinkError, FuseError, SettingsError: Nothing is mounted then.
    """
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            # Until the supervisor runs: unwind as for Ctrl-C, so that no dead mount is left behind.
            signal.signal(number, signal.default_int_handler)
        forbid_dumps()
        allow_many_files()
        os.umask(0o077)
        _serve(plan, way, ready, warn)
    finally:
        way.wipe()


def _serve(plan: MountPlan, way: Way, ready: Callable[[], None], warn: Callable[[str], None]) -> None:
    tree_lock = hold_tree(plan.vault, shared=plan.shared or plan.read_only)
    try:
        warming = threading.Thread(target=_warm, name="warm")
        warming.start()
        source = KeySource(plan.place, fingerprint_of(way))
        session, opened = open_by(source, way)
        warming.join()
        try:
            note_use(opened.header, opened.slot)
            if told := look(opened.header):
                warn(told)
            _mounted(plan, way, source, session, opened, ready, warn)
        finally:
            opened.wipe()
            if session is not None:
                session.close()
    finally:
        os.close(tree_lock)


def _warm() -> None:
    """Import what is needed after the phone's answer while waiting for it; saves a tenth of the time to a mount."""
    for name in ("phonevault.fs.filesystem", "phonevault.fuse.session", "phonevault.fuse.mount"):
        importlib.import_module(name)


def _mounted(
    plan: MountPlan,
    way: Way,
    source: KeySource,
    phone_session: PhoneSession | None,
    opened: OpenedVault,
    ready: Callable[[], None],
    warn: Callable[[str], None],
) -> None:
    for warning in opened.warnings:
        warn(warning)
    header = opened.header
    keys = Identified(source, header.vault_id, header.cipher, header.block_size)
    _recover(plan, opened, warn)
    filesystem = _file_system(plan, opened)
    if not filesystem.crash_safe:
        warn(
            "no journal can be kept in the vault: killing the daemon in the middle of a write can damage a block"
        )
    try:
        give_keys(filesystem, opened)
    except DirectoryIdDamaged as error:
        filesystem.close()
        raise _other_header(plan.place, error) from error
    except BaseException:
        filesystem.close()
        raise
    rotations = Rotations(lambda: keys.source.place, filesystem, _no_rotation(plan))
    with _fuse_session(plan, filesystem) as session, _ended(rotations):
        rotations.opened(opened)
        opened.wipe()
        volume = Volume(
            str(plan.mountpoint), session, filesystem, lambda keys: _unlock(filesystem, keys), rotations
        )
        first = state.unlocked(phone_session is not None, boottime_s())
        supervisor = Supervisor(volume, plan.policy, first)
        link = _link(way, keys, supervisor, phone_session)
        if link is not None:
            rotations.on_write(_telling(link))
        description = _description(plan, way, header.cipher, crash_safe=filesystem.crash_safe)
        requests = Requests(description, plan.policy, supervisor, keys, link, rotations)
        control = ControlServer(runtime_dir(), control_socket_name(str(plan.mountpoint)), requests)
        watch = HeaderWatch(lambda: keys.source.place, functools.partial(has_slot, way), supervisor)
        try:
            if link is not None:
                watch.start()
            _until_unmounted(supervisor, session, link, control, ready)
        finally:
            control.close()
            watch.stop()
            if link is not None:
                link.stop()


def _telling(link: Link) -> Callable[[Mark], None]:
    """Have the mount's phone remember each header that is written while the folder is open."""

    def tell(mark: Mark) -> None:
        link.tell(lambda session: session.remember_header(mark.vault_id, mark.generation, mark.mac, mark.tag))

    return tell


def _other_header(place: Place, error: DirectoryIdDamaged) -> DirectoryIdDamaged | OtherVault:
    """Keys that do not open the tree's root: of a header that is kept apart it may be the wrong one."""
    if not place.apart:
        return error
    return OtherVault(
        f"the header {place.shown} does not open the tree of {place.vault}",
        hint="is it that of another vault, or of an older key? else the root's id is damaged: `phonevault check`",
    )


def _no_rotation(plan: MountPlan) -> str:
    """Why there can be no rotation in a mount, or nothing."""
    if plan.read_only:
        return "mounted with --read-only: nothing is changed"
    if plan.shared:
        return "mounted with --shared: the other hosts would not have the new keys"
    return ""


@contextlib.contextmanager
def _ended(rotations: Rotations) -> Iterator[None]:
    """Whatever ends the mount, no rotation outlives it."""
    try:
        yield
    finally:
        rotations.stop()
        rotations.wait(END_TIMEOUT_S)


def _until_unmounted(
    supervisor: Supervisor,
    session: Session,
    link: Link | None,
    control: ControlServer,
    ready: Callable[[], None],
) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: _terminate(supervisor))

    def watch() -> None:
        session.wait()
        supervisor.unmounted()

    threading.Thread(target=watch, name="watch", daemon=True).start()
    control.start()
    if link is not None:
        link.start()
    ready()
    log("mounted")
    supervisor.run()
    log("unmounted")


def _terminate(supervisor: Supervisor) -> None:
    supervisor.ask_unmount(force=True)


def _link(way: Way, keys: Identified, supervisor: Supervisor, session: PhoneSession | None) -> Link | None:
    if not isinstance(way, PhoneWay):
        return None
    link = Link(Phone(way.name, way.connect, keys.by_phone), supervisor, session)
    supervisor.on_question(link.ask)
    return link


def _description(plan: MountPlan, way: Way, cipher: str, *, crash_safe: bool) -> Description:
    phone = way.name if isinstance(way, PhoneWay) else None
    method = way.method
    phones = phones_of(way)
    return Description(
        str(plan.vault), str(plan.mountpoint), method, phone, cipher, plan.read_only, crash_safe, phones
    )


def _recover(plan: MountPlan, opened: OpenedVault, warn: Callable[[str], None]) -> None:
    """Undo what mounts that died left half done; a read-only mount only says that it is there.

    Raises:
        RecoveryFailed: The backing store refused.
        RotationUnderWay: This kind of mount may not meet what a rotation of contents left.
    """
    from phonevault import content_rotation
    from phonevault.fs.recovery import recover

    content_rotation.refuse_unless_whole(opened, shared=plan.shared, read_only=plan.read_only)
    found = recover(plan.vault / JOURNAL, plan.place.tree, shared=plan.shared, look_only=plan.read_only)
    if found.put_back:
        warn(f"the last mount was killed: {found.put_back} half-done write(s) were undone")
    if found.waiting:
        warn(f"the last mount was killed: a writable mount would look at {found.waiting} half-done write(s)")
    if content_rotation.is_under_way(opened.header) and not plan.read_only:
        content_rotation.recover(opened)


def _file_system(plan: MountPlan, opened: OpenedVault) -> EncryptedFileSystem:
    from phonevault.fs.filesystem import EncryptedFileSystem

    header = opened.header
    return EncryptedFileSystem(
        opened.tree,
        header.vault_id,
        header.cipher,
        header.block_size,
        shared=plan.shared,
        read_only=plan.read_only,
        journal=plan.vault / JOURNAL,
    )


def give_keys(filesystem: Any, opened: OpenedVault) -> None:
    """Unlock a file system with an opened vault; the caller wipes the vault's keys."""
    from phonevault import content_rotation

    content_rotation.unlock(filesystem, opened.header, opened.vmks)


def _unlock(filesystem: EncryptedFileSystem, opened: OpenedVault) -> None:
    """Unlock again, and record it: in a thread nobody waits for, as the record may lie in a folder that does not answer."""
    give_keys(filesystem, opened)
    threading.Thread(target=_note, args=(opened.header, opened.slot), name="note", daemon=True).start()


def _note(header: Header, slot: Slot) -> None:
    note_use(header, slot)
    if told := look(header):
        log(told)


@contextlib.contextmanager
def _fuse_session(plan: MountPlan, filesystem: EncryptedFileSystem) -> Iterator[Session]:
    """Mount, serve, and take the mount away at the end if it is still there."""
    from phonevault.fuse.mount import MountOptions, mount, unmount
    from phonevault.fuse.session import Session
    from phonevault.fuse.wakefulness import wakefulness

    options = MountOptions(
        str(plan.vault),
        allow_other=plan.allow_other,
        read_only=plan.read_only,
        suid=plan.suid,
        dev=plan.dev,
    )
    started, descriptor = False, None
    session: Session | None = None
    try:
        with held_back():
            descriptor = mount(plan.mountpoint, options)
            session = Session(
                descriptor,
                filesystem.operations(),
                mountpoint=plan.mountpoint,
                wakefulness=None if plan.save_power else wakefulness(),
            )
            filesystem.beside(session.still)
            session.start()
            started = True
        # Until its first GETATTR the kernel takes the root for root's own, and refuses its owner a chmod.
        with contextlib.suppress(OSError):
            os.stat(plan.mountpoint)
        yield session
    finally:
        if descriptor is not None and (session is None or not session.ended):
            with contextlib.suppress(FuseError, OSError):
                unmount(plan.mountpoint, lazy=True)
        if session is None or not started:
            filesystem.close()  # nothing was served
        # A busy mount that was only detached does not end; then the end of this process ends it.
        elif session.wait(END_TIMEOUT_S):
            session.stop()
            filesystem.close()
        filesystem.lock()

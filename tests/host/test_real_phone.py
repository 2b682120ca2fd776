"""The host side against the real phone agent in a process of its own."""

import os
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key
from support.scripted_phone import OAEP

from phone_link.errors import DecryptFailed, KeyNotFound, LinkClosed, PhoneAbsent, UnknownPeer, UserRefused
from phone_link.host.connect import connect_phone
from phone_link.host.identity import HostIdentity
from phone_link.host.pair import pair
from phone_link.host.phone_book import PhoneBook
from phone_link.transport import connect

PROGRAM = [sys.executable, "-m", "phone_link.phone.cli"]
SECRET = bytes(range(32))


def start(store, spec, pin):
    process = subprocess.Popen(
        [
            *PROGRAM,
            "serve",
            store,
            "--listen",
            spec,
            "--pin-file",
            pin,
            "--approve",
            "auto",
            "--accept-pairing",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("ready:"):
            return process
    raise AssertionError(f"the phone ended with {process.wait()}")


def stop(process):
    process.terminate()
    process.communicate(timeout=10)


@pytest.fixture(scope="module", params=["unix", "pty"])
def world(request, tmp_path_factory):
    """A running phone, and a computer paired with it."""
    folder = tmp_path_factory.mktemp("world")
    pin = folder / "pin"
    pin.write_text("123456\n")
    pin.chmod(0o600)
    store, spec = folder / "store", f"{request.param}:{folder}/phone"
    subprocess.run(
        [*PROGRAM, "init", store, "--pin-file", pin, "--bits", "2048", "--name", "Test phone"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    world = {"folder": folder, "store": store, "spec": spec, "pin": pin, "process": start(store, spec, pin)}
    try:
        identity = world["identity"] = HostIdentity.load_or_create(folder / "identity")
        codes = world["codes"] = []
        paired = pair(connect(spec), identity, "Test computer", spec, lambda code: codes.append(code) or True)
        PhoneBook(folder).add(paired)
        yield world
    finally:
        stop(world["process"])


@pytest.fixture
def phone(world):
    return PhoneBook(world["folder"]).get(None)


@pytest.fixture
def session(world, phone):
    session = connect_phone(phone, world["identity"])
    yield session
    session.close()


def seal(phone):
    return load_der_public_key(phone.public_key_der).encrypt(SECRET, OAEP)


def test_pairing(world, phone):
    assert phone.name == "Test phone"
    assert len(world["codes"]) == 1 and len(world["codes"][0]) == 6


def test_unlocking(session, phone):
    for _ in range(3):
        assert session.decrypt(phone.fingerprint, seal(phone), "unlock the test folder") == SECRET
        session.ping(5)


def test_refusals_leave_the_session_usable(session, phone):
    with pytest.raises(DecryptFailed):
        session.decrypt(phone.fingerprint, bytes(255) + b"\x01", "test")
    with pytest.raises(KeyNotFound):
        session.decrypt("00" * 32, seal(phone), "test")
    assert session.decrypt(phone.fingerprint, seal(phone), "test") == SECRET


def test_description_and_random_bytes(session):
    info = session.info()
    assert info.name == "Test phone" and info.label and not info.pin_locked and info.pin_tries_left > 0
    assert len(session.random(300)) == 300 and session.random(16) != session.random(16)


def test_many_sessions_one_after_the_other(world, phone):
    for _ in range(5):
        session = connect_phone(phone, world["identity"])
        session.ping(5)
        session.close()


def test_an_unknown_computer_is_told_so(world, phone, tmp_path):
    with pytest.raises(UnknownPeer):
        connect_phone(phone, HostIdentity.load_or_create(tmp_path / "stranger"))


def test_lock_everything_reaches_the_computer(world, session, phone):
    locks = []
    session.on_lock(lambda: locks.append(1))
    session.ping(5)
    subprocess.run([*PROGRAM, "lock", world["store"]], check=True, stdout=subprocess.DEVNULL)
    session.wait(0.3)
    assert locks == [1]
    with pytest.raises(UserRefused):
        session.decrypt(phone.fingerprint, seal(phone), "test")
    subprocess.run([*PROGRAM, "unlock", world["store"]], check=True, stdout=subprocess.DEVNULL)
    assert session.decrypt(phone.fingerprint, seal(phone), "test") == SECRET


@pytest.fixture
def terminal_held(world):
    """The kernel gives the number of the dead phone's terminal to no other program, which would look like the phone."""
    kind, _, path = world["spec"].partition(":")
    held = os.open(path, os.O_RDWR | os.O_NOCTTY) if kind == "pty" else None
    yield
    if held is not None:
        os.close(held)


@pytest.mark.usefixtures("terminal_held")
def test_the_phone_goes_and_comes_back(world, phone):
    session = connect_phone(phone, world["identity"])
    try:
        world["process"].kill()
        with pytest.raises(LinkClosed):
            session.wait(10)
        with pytest.raises(LinkClosed):
            session.ping(1)
        stop(world["process"])
        with pytest.raises(PhoneAbsent):
            connect_phone(phone, world["identity"])
    finally:
        world["process"] = start(world["store"], world["spec"], world["pin"])
    session = connect_phone(phone, world["identity"])
    assert session.decrypt(phone.fingerprint, seal(phone), "test") == SECRET
    session.close()

"""After a decryption nothing of the plaintext is left in the computer's memory but what the caller holds."""

import os
import subprocess
import sys

from support.memory_scan import scan
from support.scripted_phone import OAEP, ScriptedPhone

from phone_link.host.identity import HostIdentity
from phone_link.host.phone_book import PhoneBook
from phone_link.transport import listen

CHILD = """
import sys
from pathlib import Path
from phone_link.host.connect import connect_phone
from phone_link.host.identity import HostIdentity
from phone_link.host.phone_book import PhoneBook
from phone_link.wipe import wipe
folder, ciphertext = Path(sys.argv[1]), bytes.fromhex(sys.argv[2])
phone = PhoneBook(folder).get(None)
session = connect_phone(phone, HostIdentity.load_or_create(folder / "identity"))
masked_pin = bytes.fromhex(sys.stdin.readline())
pin = bytearray(b ^ 0x11 for b in masked_pin)
session.login(pin)
wipe(pin)
plaintext = session.decrypt(phone.fingerprint, ciphertext, "test")
print("held", flush=True); sys.stdin.readline()
wipe(plaintext)
session.ping(5)
print("wiped", flush=True); sys.stdin.readline()
"""
SECRET = os.urandom(32)


def test_a_secret_is_gone_once_its_owner_wiped_it(tmp_path, rsa_key):
    phone = ScriptedPhone(rsa_key)
    identity = HostIdentity.load_or_create(tmp_path / "identity")
    phone.know(identity.public)
    listener = listen(f"unix:{tmp_path}/phone")
    PhoneBook(tmp_path).add(phone.paired(listener.spec))
    phone.logged_in = False
    pins = []

    def login(command):
        pins.append(command.arguments[2].string())
        phone.logged_in = True
        return phone.on_preason(command)

    phone.on_plogin = login
    pin = "correct horse battery staple"
    masked = bytes(b ^ 0x11 for b in pin.encode()).hex()
    ciphertext = rsa_key.public_key().encrypt(SECRET, OAEP)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, tmp_path, ciphertext.hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        with phone.serving(listener.accept(10)):
            child.stdin.write(masked + "\n")
            child.stdin.flush()
            assert child.stdout.readline() == "held\n"
            wanted = {"raw": SECRET, "hex": SECRET.hex().upper().encode(), "pin": pin.encode()}
            assert pins == [pin]
            assert set(scan(child.pid, wanted)) == {"raw"}
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "wiped\n"
            assert scan(child.pid, wanted) == {}
            child.communicate("\n", timeout=10)
    finally:
        child.kill()
        child.communicate()
        listener.close()

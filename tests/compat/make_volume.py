"""Makes one frozen volume with the program as it is now: `python tests/compat/make_volume.py NAME CIPHER [rotated] [phones]`.

Never run by a test. Make volumes when the format gets a new version or feature flag, under a new name (`v2-gcm`), and keep the
old ones: they are what makes sure that old vaults still open. Run it as root, with the umask 022, on a store with `user.` attributes.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from support import frozen_volumes  # noqa: E402
from support.computer import Computer  # noqa: E402
from support.headers import public_der, rsa_key  # noqa: E402

from keyslots.slots.passphrase import Cost  # noqa: E402
from phone_link.phone.module import NewKey  # noqa: E402
from phone_link.phone.setup import create_store  # noqa: E402
from phone_link.phone.store_format import Argon2Cost  # noqa: E402
from phonevault import vault  # noqa: E402

_KIB = 8192
"""Memory of the key derivations: the least that the format allows, so that the tests are quick."""


def main() -> None:
    name, cipher, *options = sys.argv[1:]
    target = frozen_volumes.FOLDER / f"{name}.tar.xz"
    if target.exists():
        raise SystemExit(f"{target} is there: a frozen volume is never made anew")
    frozen_volumes.FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        volume = Path(folder) / "volume"
        volume.mkdir()
        _make(volume, cipher, phones="phones" in options)
        described = _fill(volume, Path(folder), rotated="rotated" in options)
        frozen_volumes.pack(volume, target)
    target.with_name(f"{name}.json").write_text(json.dumps(described, indent=1) + "\n")


def _make(volume: Path, cipher: str, *, phones: bool) -> None:
    """A vault with three slots, and the store of its phone; phones: a fourth slot, for two phones together."""
    first = _phone(volume / frozen_volumes.PHONE)
    slots: list[vault.NewSlot] = [
        vault.PhoneSlotRequest(first, "phone"),
        vault.PassphraseSlotRequest(
            bytearray(frozen_volumes.PASSPHRASE), cost=Cost(memory_kib=_KIB, iterations=1, lanes=1)
        ),
        vault.RecoverySlotRequest(),
    ]
    if phones:
        others = (_phone(volume / frozen_volumes.SECOND_PHONE), public_der(rsa_key()))
        slots.append(vault.PhonesSlotRequest((first, *others), 2))
    made = vault.create(volume / frozen_volumes.VAULT, cipher=cipher, slots=slots)
    (volume / frozen_volumes.CODE).write_text((made.recovery_code or "") + "\n")
    made.wipe()


def _phone(store: Path) -> bytes:
    """Make a phone's store and return its public key."""
    cost = Argon2Cost(memory_kib=_KIB, iterations=1, lanes=1)
    key = NewKey(2048, "vault key", policy="auto", usage=("decrypt",))
    phone = create_store(store, "frozen", bytearray(frozen_volumes.PIN), key=key, cost=cost)
    assert phone.key is not None
    return phone.key.public_der


def _fill(volume: Path, folder: Path, *, rotated: bool) -> dict[str, object]:
    """Mounted by the program itself; rotated: its volume key changed, and written to after that."""
    computer = Computer(folder)
    try:
        computer.vault = volume / frozen_volumes.VAULT
        passphrase = folder / "passphrase"
        passphrase.touch(mode=0o600)
        passphrase.write_bytes(frozen_volumes.PASSPHRASE)
        computer.mount("--passphrase-file", passphrase)
        frozen_volumes.furnish(computer.place)
        if rotated:
            computer.run("unmount", computer.place)
            computer.run("rotate", "master", computer.vault, "--passphrase-file", passphrase)
            computer.mount("--passphrase-file", passphrase)
            (computer.place / "after the rotation").write_text("a file key of the second epoch")
            os.utime(computer.place / "after the rotation", ns=(10**18, 10**18))
        described = frozen_volumes.description(computer.place)
        computer.run("unmount", computer.place)
    finally:
        computer.close()
    return described


if __name__ == "__main__":
    os.umask(0o022)
    main()

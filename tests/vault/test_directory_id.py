from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from phonevault.fs.errors import DirectoryIdDamaged
from phonevault.fs.format.dirid import new_directory_id, open_directory_id, seal_directory_id

KEY = bytes(range(64))


def test_round_trip_and_form() -> None:
    siv = AESSIV(KEY)
    directory_id = new_directory_id()
    blob = seal_directory_id(siv, directory_id)
    assert len(directory_id) == 16
    assert len(blob) == 32
    assert blob == siv.encrypt(directory_id, [b"directory id"])
    assert open_directory_id(siv, blob) == directory_id


def test_ids_are_fresh() -> None:
    assert len({new_directory_id() for _ in range(100)}) == 100


def test_every_flipped_bit_is_found() -> None:
    siv = AESSIV(KEY)
    blob = seal_directory_id(siv, bytes(16))
    for bit in range(256):
        changed = bytearray(blob)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DirectoryIdDamaged):
            open_directory_id(siv, bytes(changed))


@pytest.mark.parametrize("length", [0, 1, 16, 31, 33, 4096])
def test_other_lengths(length: int) -> None:
    with pytest.raises(DirectoryIdDamaged):
        open_directory_id(AESSIV(KEY), bytes(length))


def test_a_file_of_another_vault_or_purpose() -> None:
    siv = AESSIV(KEY)
    for blob in (
        AESSIV(KEY[::-1]).encrypt(bytes(16), [b"directory id"]),
        siv.encrypt(bytes(16), [b"name", bytes(16)]),
    ):
        with pytest.raises(DirectoryIdDamaged):
            open_directory_id(siv, blob)


def test_an_id_of_another_length_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        seal_directory_id(AESSIV(KEY), bytes(15))

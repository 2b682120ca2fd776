"""The epoch of a rotation of contents, in the header: its flag comes, stays through changes of slots, and goes with the older keys."""

from __future__ import annotations

import dataclasses

import pytest

from keyslots.anchor import tag_of
from keyslots.build import PassphraseSlotRequest, new_header
from keyslots.edit import add_slot, remove_slot
from keyslots.epochs import begin_content_epoch, begin_epoch, end_content_epochs
from keyslots.errors import BadParameter, HeaderTampered
from keyslots.header import ANCHORED, CONTENT_ROTATION, Header, parse_header
from keyslots.secret import Secret
from keyslots.slots.passphrase import Cost

CHEAP = Cost(8192, 1, 1)


def request() -> PassphraseSlotRequest:
    return PassphraseSlotRequest(bytearray(b"words"), "label", CHEAP)


def begun() -> tuple[Header, dict[int, Secret]]:
    new = new_header([request()], "aes-256-gcm", None)
    header, epoch, vmk = begin_content_epoch(new.header, {1: new.vmk})
    assert epoch == 2
    return header, {1: new.vmk, 2: vmk}


def test_the_flag_comes_and_goes() -> None:
    header, vmks = begun()
    assert header.flags == (CONTENT_ROTATION,)
    assert header.epochs.to_json() == {"current": 2, "files": 1, "live": [1, 2], "names": 1}
    assert parse_header(header.to_json()) == header
    done = end_content_epochs(header, vmks)
    assert done.flags == (ANCHORED,)
    assert done.epochs.to_json() == {"current": 2, "files": 2, "live": [2], "names": 2}
    assert all([key.epoch for key in slot.keys] == [2] for slot in done.slots)
    assert parse_header(done.to_json()) == done


def test_the_flag_stays_while_slots_change() -> None:
    header, vmks = begun()
    more, slot = add_slot(header, vmks, request())
    assert more.rotates_contents
    assert remove_slot(more, slot.id).rotates_contents


def test_no_further_epoch_meanwhile() -> None:
    header, vmks = begun()
    for begin in (begin_epoch, begin_content_epoch):
        with pytest.raises(BadParameter):
            begin(header, vmks)


def test_the_flag_without_an_older_epoch_is_refused() -> None:
    header, vmks = begun()
    broken = end_content_epochs(header, vmks).to_json() | {"flags": [ANCHORED, CONTENT_ROTATION]}
    with pytest.raises(HeaderTampered):
        parse_header(broken)


def test_the_tag_outlives_every_volume_key() -> None:
    header, vmks = begun()
    with tag_of(header, vmks) as tag:
        first = bytes(tag.view)
    for rotate in (begin_epoch, begin_content_epoch, begin_content_epoch):
        if header.rotates_contents:
            header = end_content_epochs(header, vmks)
            vmks = {header.epochs.current: vmks[header.epochs.current]}
        header, epoch, vmk = rotate(header, vmks)
        vmks = {**vmks, epoch: vmk}
        assert parse_header(header.to_json()) == header
        with tag_of(header, vmks) as tag:
            assert bytes(tag.view) == first


def test_a_tag_of_another_epoch_or_vault_is_refused() -> None:
    header, vmks = begun()
    done = end_content_epochs(header, vmks)
    for wrong in (
        dataclasses.replace(done, vault_id=bytes(16)),
        dataclasses.replace(done, anchor=done.anchor[:-1] + bytes((done.anchor[-1] ^ 1,))),
    ):
        with pytest.raises(HeaderTampered):
            tag_of(wrong, vmks)
    for broken in ({"flags": []}, {"anchor": "00"}):
        with pytest.raises(HeaderTampered):
            parse_header(done.to_json() | broken)

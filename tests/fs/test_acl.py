"""The arithmetic of access control lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonevault.fs.acl import Acl, AclInvalid, Entry, Tag, pack, parse

PERMS = st.integers(0, 7)
MODES = st.integers(0, 0o777)
USERS = (10, 20)
GROUPS = (30, 40)


@st.composite
def lists(draw: st.DrawFn) -> Acl:
    users = [Entry(Tag.USER, draw(PERMS), uid) for uid in draw(st.sets(st.sampled_from(USERS)))]
    groups = [Entry(Tag.GROUP, draw(PERMS), gid) for gid in draw(st.sets(st.sampled_from(GROUPS)))]
    mask = [Entry(Tag.MASK, draw(PERMS))] if users or groups or draw(st.booleans()) else []
    owner, group, other = (Entry(tag, draw(PERMS)) for tag in (Tag.USER_OBJ, Tag.GROUP_OBJ, Tag.OTHER))
    return Acl((owner, *users, group, *groups, *mask, other))


def granted(acl: Acl, uid: int, gids: set[int], *, owner: int = 1, group: int = 2) -> set[int]:
    """Each single right that a user has, by the draft's algorithm (23.1.5)."""
    mask = acl.perm(Tag.MASK)
    limit = 7 if mask is None else mask

    def rights(perm: int) -> set[int]:
        return {right for right in (4, 2, 1) if perm & right}

    if uid == owner:
        return rights(acl.perm(Tag.USER_OBJ) or 0)
    for entry in acl.entries:
        if entry.tag is Tag.USER and entry.id == uid:
            return rights(entry.perm & limit)
    matching = [
        entry.perm
        for entry in acl.entries
        if (entry.tag is Tag.GROUP_OBJ and group in gids) or (entry.tag is Tag.GROUP and entry.id in gids)
    ]
    if matching:
        return set().union(*(rights(perm & limit) for perm in matching))
    return rights(acl.perm(Tag.OTHER) or 0)


def minimal(mode: int) -> Acl:
    """The list that says the same as a mode."""
    return Acl(
        tuple(
            Entry(tag, mode >> shift & 7)
            for tag, shift in ((Tag.USER_OBJ, 6), (Tag.GROUP_OBJ, 3), (Tag.OTHER, 0))
        )
    )


CALLERS = [
    (uid, gids) for uid in (1, *USERS, 99) for gids in ({2}, {30}, {40}, {30, 40}, {2, 30}, {2, 40, 30}, {98})
]


@given(lists())
def test_the_outside_form_comes_back(acl: Acl) -> None:
    assert parse(pack(acl.entries)) == acl


@given(lists(), MODES)
def test_chmod_is_undone_by_nothing_but_chmod(acl: Acl, mode: int) -> None:
    changed = acl.with_mode(mode)
    assert changed.mode() == mode
    assert changed.with_mode(acl.mode()) == acl
    assert [(entry.tag, entry.id) for entry in changed.entries] == [
        (entry.tag, entry.id) for entry in acl.entries
    ]


@given(lists(), MODES)
def test_a_new_object_has_no_more_than_the_list_and_the_mode(default: Acl, mode: int) -> None:
    made = default.for_new_object(mode)
    assert made.mode() == default.mode() & mode
    for caller in CALLERS:
        assert granted(made, *caller) <= granted(default, *caller)


@given(lists())
def test_without_its_list_an_object_grants_nobody_more(acl: Acl) -> None:
    for caller in CALLERS:
        assert granted(minimal(acl.mode_without()), *caller) <= granted(acl, *caller)


@given(MODES)
def test_a_minimal_list_is_its_mode(mode: int) -> None:
    acl = minimal(mode)
    assert (acl.is_minimal, acl.mode(), acl.mode_without()) == (True, mode, mode)


@given(lists(), st.data())
def test_a_list_out_of_order_or_with_an_entry_twice_is_refused(acl: Acl, data: st.DataObject) -> None:
    entries = list(acl.entries)
    place = data.draw(st.integers(0, len(entries) - 1))
    if entries[place].tag not in (Tag.USER, Tag.GROUP):
        with pytest.raises(AclInvalid):
            parse(pack([*entries[:place], entries[place], *entries[place:]]))
        if entries[place].tag is not Tag.MASK or len(entries) > 4:
            with pytest.raises(AclInvalid):
                parse(pack([*entries[:place], *entries[place + 1 :]]))
    with pytest.raises(AclInvalid):
        parse(pack(reversed(entries)))


@given(st.binary(max_size=60))
def test_what_parses_is_a_list(raw: bytes) -> None:
    try:
        acl = parse(raw)
    except AclInvalid:
        return
    assert len(pack(acl.entries)) == len(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\2\0\0", b"\2\0\0\0", b"\1\0\0\0" + pack(minimal(0o644).entries)[4:], pack(minimal(0o644).entries) + b"x",
        pack(minimal(0o644).entries).replace(b"\x20\0", b"\x40\0"), pack([Entry(Tag.USER_OBJ, 8), *minimal(0).entries[1:]]),
        pack([*minimal(0).entries[:1], Entry(Tag.USER, 4, 0xFFFFFFFF), *minimal(0).entries[1:]]),
    ],
)  # fmt: skip
def test_hostile_bytes(raw: bytes) -> None:
    with pytest.raises(AclInvalid):
        parse(raw)

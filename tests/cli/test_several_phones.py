"""A vault that two of three phones open: the commands and the daemon, with real phone programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.computer import Computer, wait_until
from support.needs import need_fuse

NAMES = ("alice", "bob", "carol")


class World:
    """A computer and three phones that it is paired with, one program each; and a vault that two of them open."""

    def __init__(self, root: Path) -> None:
        self.computer = Computer(root)
        self.phones: dict[str, Computer] = {}
        for name in NAMES:
            (root / name).mkdir()
            self.phones[name] = Computer(root / name)

    @property
    def vault(self) -> Path:
        return self.computer.vault

    def pair_all(self) -> None:
        for name, phone in self.phones.items():
            phone.make_phone()
            phone.start_phone("--approve", "auto", "--accept-pairing")
            self.computer.run("phone", "pair", phone.spec, "--name", name, "--yes")

    def near(self, *names: str) -> None:
        """Exactly these phones are there."""
        for name, phone in self.phones.items():
            if name in names and phone.phone is None:
                phone.start_phone()
            elif name not in names and phone.phone is not None:
                phone.stop_phone()

    def test(self, *options: str, code: int = 0) -> str:
        """What `slot test` says."""
        result = self.computer.run("slot", "test", self.vault, *options, code=code)
        return result.stdout + result.stderr

    def log(self, name: str) -> str:
        """What a phone was asked for."""
        return self.phones[name].run_phone("log", self.phones[name].store).stdout

    def close(self) -> None:
        for one in (*self.phones.values(), self.computer):
            one.close()


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("phones"))
    try:
        world.pair_all()
        create(world, world.vault, world.computer.code_file)
        yield world
    finally:
        world.close()


@pytest.fixture
def world(paired: World) -> World:
    paired.near(*NAMES)
    return paired


def create(world: World, vault: Path, code: Path, threshold: int = 2) -> str:
    options = [word for name in NAMES for word in ("--phone", name)]
    made = world.computer.run("create", vault, *options, "--threshold", threshold, "--recovery-file", code)
    return made.stdout


def test_the_slot_is_shown_with_how_many_it_needs(world: World) -> None:
    slot, _ = json.loads(world.computer.run("info", world.vault, "--json").stdout)["slots"]
    assert (slot["kind"], slot["label"], slot["threshold"]) == ("phones", "2 of alice, bob, carol", 2)
    assert sorted(slot["phones"]) == slot["phones"]
    listed = world.computer.run("slot", "list", world.vault).stdout
    assert f"2 of {slot['phones'][0][:16]}, " in listed


def test_all_phones_prove_a_new_vault_and_without_one_nothing_is_made(world: World) -> None:
    root = world.computer.root
    made = create(world, root / "all", root / "all code", threshold=3)
    assert "opened by any 3 of the phones alice, bob, carol and the recovery code" in made
    assert all("make the folder all" in world.log(name) for name in NAMES)
    world.near("alice", "carol")
    options = ("--phone", "alice", "--phone", "bob", "--threshold", 2)
    said = world.computer.run("create", root / "x", *options, "--recovery-file", root / "x code", code=41)
    assert "bob" in said.stderr
    assert not (root / "x").exists()
    assert not (root / "x code").exists()


@pytest.mark.parametrize("names", [("alice", "bob"), ("alice", "carol"), ("bob", "carol"), NAMES])
def test_any_two_open_it(world: World, names: tuple[str, ...]) -> None:
    world.near(*names)
    assert "slot 0 (phones: 2 of alice, bob, carol) opens" in world.test()


@pytest.mark.parametrize("names", [(), ("alice",), ("carol",)])
def test_too_few_are_told_and_nobody_is_asked(world: World, names: tuple[str, ...]) -> None:
    world.near(*names)
    before = {name: world.log(name) for name in NAMES}
    said = world.test(code=41)
    assert "2 phones are needed together" in said
    assert {name: world.log(name) for name in NAMES} == before
    assert "slot 1" in world.test("--recovery-file", str(world.computer.code_file))


def test_those_named_are_asked_and_others_only_to_make_up_the_number(world: World) -> None:
    before = world.log("alice")
    world.test("--phone", "carol", "--phone", "bob")
    assert world.log("alice") == before
    world.near("bob", "carol")
    world.test("--phone", "alice", "--phone", "bob", code=41)
    world.near("alice", "bob")
    world.test("--phone", "bob")


def test_a_phone_named_twice_or_alone_or_with_a_passphrase(world: World) -> None:
    world.test("--phone", "alice", "--phone", "alice", code=2)
    world.test("--phone", "alice", "--phone", "bob", "--passphrase-file", "x", code=2)
    world.test("--phone", "alice", "--phone", "nobody", code=47)
    create, root = world.computer, world.computer.root
    common = ("create", root / "y", "--recovery-file", root / "y code", "--phone", "alice")
    for words in (
        ("--phone", "bob"),  # one of them, or both together?
        ("--threshold", 1),
        ("--threshold", 2),
        ("--phone", "bob", "--threshold", 1),
        ("--phone", "bob", "--threshold", 3),
        ("--phone", "alice", "--threshold", 2),
        ("--no-phone", "--threshold", 2),
    ):
        create.run(*common, *words, code=2)
    assert not (root / "y").exists()


def test_a_refusal_ends_the_attempt(world: World) -> None:
    world.near("alice")
    world.phones["bob"].start_phone("--approve", "ask")  # and nobody is there to say yes
    try:
        world.test("--phone", "alice", "--phone", "bob", code=54)
    finally:
        world.phones["bob"].stop_phone()


def test_slots_for_several_phones_come_and_go(world: World) -> None:
    root = world.computer.root
    vault, code = root / "added", root / "added code"
    world.computer.run("create", vault, "--no-phone", "--single-slot", "--recovery-file", code)
    by_code = ("--recovery-file", code)
    new = ("--new-phone", "alice", "--new-phone", "bob")
    world.computer.run("slot", "add", vault, *new, *by_code, code=2)
    world.computer.run("slot", "add", vault, *new, "--threshold", 2, "--passphrase", *by_code, code=2)
    added = world.computer.run("slot", "add", vault, *new, "--threshold", 2, *by_code)
    assert added.stdout == "added slot 1 (phones: 2 of alice, bob)\n"
    assert "add this phone to the folder added" in world.log("bob")
    world.computer.run("slot", "test", vault)
    world.computer.run("slot", "test", vault, "--phone", "alice", "--phone", "carol", code=14)
    world.computer.run("rotate", "slot", vault, *by_code)
    world.computer.run("rotate", "master", vault, "--phone", "alice", "--phone", "bob")
    assert "slot 1 " in world.computer.run("slot", "test", vault).stdout
    world.near("alice")
    unproved = world.computer.run(
        "slot",
        "add",
        vault,
        "--new-phone",
        "alice",
        "--new-phone",
        "carol",
        "--threshold",
        2,
        "--unproved",
        *by_code,
    )
    assert "added slot 2" in unproved.stdout
    assert json.loads(world.computer.run("info", vault, "--json").stdout)["slots"][2]["threshold"] == 2
    world.near("alice", "carol")
    assert (
        "slot 2 " in world.computer.run("slot", "test", vault, "--phone", "alice", "--phone", "carol").stdout
    )
    for number in (1, 2):
        world.computer.run("slot", "remove", vault, number, *by_code)
    world.computer.run("slot", "test", vault, "--phone", "alice", "--phone", "bob", code=14)


def test_a_lost_phone_is_shut_out_and_the_others_stay(world: World) -> None:
    vault, code = world.computer.root / "lost", world.computer.root / "lost code"
    create(world, vault, code)
    world.computer.run("slot", "revoke", vault, "bob", "--recovery-file", code)
    slot, _ = json.loads(world.computer.run("slot", "list", vault, "--json").stdout)
    assert (len(slot["phones"]), slot["threshold"]) == (2, 2)
    world.computer.run("slot", "test", vault, "--phone", "alice", "--phone", "carol")
    world.computer.run("slot", "test", vault, "--phone", "alice", "--phone", "bob", code=14)


@pytest.mark.mount
def test_a_folder_that_a_lost_phone_holds_open_with_another_locks(world: World) -> None:
    need_fuse()
    computer, vault, code = world.computer, world.computer.root / "held", world.computer.root / "held code"
    create(world, vault, code)
    computer.run("mount", vault, computer.place, "--phone", "alice", "--phone", "bob")
    computer.run(
        "slot", "revoke", vault, "bob", "--recovery-file", code, code=22
    )  # the rest waits for the unmount
    assert computer.status()["state"] == "locked"
    computer.run("unlock", computer.place, code=14)
    computer.run("unmount", computer.place)


def test_phones_that_know_the_vault_refuse_an_old_header(world: World) -> None:
    vault, code = world.computer.root / "old", world.computer.root / "old code"
    create(world, vault, code)
    copies = {path: path.read_bytes() for path in vault.glob("phonevault.json*")}
    two = ("--phone", "alice", "--phone", "bob")
    assert "not seen this vault" not in world.computer.run("slot", "test", vault, *two).stderr
    world.computer.run("slot", "add", vault, "--new-recovery-file", f"{code}2", *two)
    for path, data in copies.items():
        path.write_bytes(data)
    world.computer.run("slot", "test", vault, *two, code=57)
    world.computer.run("slot", "test", vault, "--recovery-file", code)


@pytest.mark.mount
def test_a_folder_locks_when_too_few_are_left_and_opens_when_there_are_enough(world: World) -> None:
    need_fuse()
    computer = world.computer
    world.near("alice", "bob")
    computer.mount("--grace", 4)
    status = computer.status()
    assert [phone["name"] for phone in status["phones"]] == list(NAMES)
    assert (status["method"], status["bound_to_phone"]) == ("phone", True)
    (computer.place / "file").write_text("ours")
    world.near("alice", "bob", "carol")
    world.near("bob", "carol")  # alice leaves, carol is there: frozen for a moment, and no lock
    wait_until(lambda: computer.status()["phone_in_range"] and computer.status()["state"] == "unlocked")
    assert (computer.place / "file").read_text() == "ours"
    world.near("bob")
    assert computer.wait_for("locked")["cause"] == "the phone is away"
    asked = world.log("bob")
    wait_until(lambda: "2 phones are needed" in computer.status()["phone_problem"])
    assert world.log("bob") == asked  # one phone alone is not asked
    computer.run("unlock", computer.place, code=41)
    world.near("alice", "bob")
    computer.wait_for("unlocked")
    assert (computer.place / "file").read_text() == "ours"
    computer.run("lock", computer.place)
    computer.run("unlock", computer.place)
    assert computer.status()["state"] == "unlocked"
    computer.run("unmount", computer.place)

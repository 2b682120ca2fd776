from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.radio import Radio, running_radio
from support.radio_world import World


@pytest.fixture(scope="session")
def shared_radio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Radio]:
    with running_radio(tmp_path_factory.mktemp("radio")) as running:
        yield running


@pytest.fixture
def world(shared_radio: Radio, tmp_path: Path) -> Iterator[World]:
    """A phone and a computer that do not know each other, on a radio that others used before."""
    shared_radio.come_back()
    shared_radio.command("sup 20")
    with living(World(shared_radio, tmp_path)) as world:
        yield world


@pytest.fixture
def mortal_world(tmp_path: Path) -> Iterator[World]:
    """The same with a radio of its own."""
    with running_radio(tmp_path) as radio, living(World(radio, tmp_path)) as world:
        yield world


@contextmanager
def living(world: World) -> Iterator[World]:
    before = threading.active_count()
    try:
        yield world
    finally:
        world.end()
    assert threading.active_count() == before, threading.enumerate()

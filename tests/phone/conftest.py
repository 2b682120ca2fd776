from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.phone_bench import PIN, Bench, make_store

from phone_link.phone.setup import NewStore
from phone_link.phone.store import Store


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> NewStore:
    """A store with one 2048-bit key, made once; never changed."""
    return make_store(tmp_path_factory.mktemp("template") / "store")


@pytest.fixture
def store(template: NewStore, tmp_path: Path) -> Store:
    """A fresh copy of the template."""
    shutil.copytree(template.store.path, tmp_path / "store")
    return Store(tmp_path / "store")


@pytest.fixture
def puk(template: NewStore) -> bytearray:
    return bytearray(template.puk)


@pytest.fixture
def bench(store: Store) -> Iterator[Bench]:
    bench = Bench(store)
    yield bench
    bench.manager.logout_all()


@pytest.fixture
def pin_file(tmp_path: Path) -> Path:
    path = tmp_path / "pin"
    path.write_bytes(PIN + b"\n")
    return path

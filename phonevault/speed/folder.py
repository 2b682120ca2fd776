"""A folder against the plain directory beside it, workload by workload, in one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from phonevault.errors import NotMeasurable
from phonevault.speed.trial import Trial, trial_vault
from phonevault.speed.workloads import ALL, Place


@dataclass(frozen=True)
class FolderRate:
    """One workload: so many of `unit` in the folder, and in the plain directory."""

    name: str
    unit: str
    folder: float
    plain: float

    @property
    def ratio(self) -> float:
        """Folder to plain."""
        return self.folder / self.plain


@dataclass(frozen=True)
class FolderSpeed:
    """What was measured for a vault.

    Attributes:
        vault: Its path.
        cipher: Its cipher, which the trial vault had too.
        block_size: Bytes of a block or data unit.
        stream_bytes: Size of the large file.
        rates: One for each workload.
    """

    vault: Path
    cipher: str
    block_size: int
    stream_bytes: int
    rates: tuple[FolderRate, ...]

    def rate(self, name: str) -> FolderRate:
        """That of one workload."""
        return next(one for one in self.rates if one.name == name)


def measure(vault: Path, cipher: str, block_size: int) -> FolderSpeed:
    """Measure a trial vault beside `vault`; at most some 8 s, more on a disk that is slow to sync.

    Raises:
        NotMeasurable: It cannot be done there.
    """
    try:
        with trial_vault(vault, cipher, block_size) as trial:
            return FolderSpeed(vault, cipher, block_size, trial.stream_bytes, _rates(trial))
    except OSError as error:
        raise NotMeasurable(f"the measurement broke off: {error.strerror or error}") from error


def _rates(trial: Trial) -> tuple[FolderRate, ...]:
    plain = Place(trial.plain, (), trial.stream_bytes)
    folder = Place(trial.folder, (trial.ciphertext,), trial.stream_bytes)
    found = []
    for workload in ALL:
        of_plain = workload.measure(plain)
        found.append(FolderRate(workload.name, workload.unit, workload.measure(folder), of_plain))
    return tuple(found)

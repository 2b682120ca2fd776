"""A mount behaves as a plain directory of the same store does: generated operations on both, each answer compared.

The long form takes the number of examples from the environment variable PHONEVAULT_MODEL_EXAMPLES.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from support.mounted_tree import mounted_tree
from support.twin_operations import STEPS
from support.twin_trees import TwinTrees
from support.twin_worlds import Step

pytestmark = [pytest.mark.mount, pytest.mark.anyone]

LONG_EXAMPLES = int(os.environ.get("PHONEVAULT_MODEL_EXAMPLES", "400"))
VARIANTS = pytest.mark.parametrize("options", [(), ("shared",)], ids=["alone", "shared"])
CIPHERS = pytest.mark.parametrize("cipher", ["aes-256-gcm", "aes-256-xts"])


def run_examples(base: Path, cipher: str, options: tuple[str, ...], examples: int) -> None:
    with mounted_tree(base / "vault", cipher, *options) as mount:
        twins = TwinTrees(mount, base / "plain")

        @settings(
            max_examples=examples,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        )
        @given(STEPS)
        def run(steps: list[Step]) -> None:
            twins.run(steps)

        run()
        twins.compare_after_a_remount()


@VARIANTS
@CIPHERS
def test_any_operations(tmp_path: Path, cipher: str, options: tuple[str, ...]) -> None:
    run_examples(tmp_path, cipher, options, 12)


@pytest.mark.slow
@VARIANTS
@CIPHERS
def test_many_operations(tmp_path: Path, cipher: str, options: tuple[str, ...]) -> None:
    run_examples(tmp_path, cipher, options, LONG_EXAMPLES)

"""`phonevault` as it is, but for one thing: a new passphrase costs the least that a header may say, so that tests are quick.

What it costs otherwise is measured and takes a second for each try (`phonevault.kdf_cost`). There is no option or variable
for this, so that no user is ever given it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phonevault.cli import new_passphrase

if TYPE_CHECKING:
    from keyslots.slots.passphrase import Cost


def cheap(*_: object) -> Cost:
    from keyslots.slots.passphrase import ITERATIONS, LANES, MEMORY_KIB, Cost

    return Cost(MEMORY_KIB[0], ITERATIONS[0], LANES[0])


new_passphrase.cost_here = cheap

from phonevault.cli.main import main  # noqa: E402 - after it: the commands take the name over when they are loaded

if __name__ == "__main__":
    main()

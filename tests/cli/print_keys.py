"""Prints the keys of a vault, opened with its recovery code, for the scan of a daemon's memory."""

from __future__ import annotations

import sys
from pathlib import Path

from keyslots import labels
from keyslots.derive import derive
from phonevault.vault import RecoveryOpener, open_vault

opened = open_vault(Path(sys.argv[1]), RecoveryOpener(Path(sys.argv[2]).read_bytes()))
for epoch, vmk in opened.vmks.items():
    print(f"vmk-{epoch}", bytes(vmk.view).hex())
    for label in labels.KEY_BYTES:
        name = label.decode().replace(" ", "-")
        print(f"{name}-{epoch}", bytes(derive(vmk, opened.header.vault_id, label).view).hex())

"""The node's secret: twelve BIP 39 words in a file that only its owner can read."""

from __future__ import annotations

import os
from pathlib import Path

from embit import bip39

from daruma.config import ConfigError
from storage import files


def load_or_make(folder: Path) -> bytes:
    """64 bytes of seed from `seed.txt`; made on the very first start only. Raises `ConfigError`."""
    path = folder / "seed.txt"
    if not path.exists():
        if (folder / "stores").exists():
            raise ConfigError(
                f"the seed file is missing ({path}) although the node has data: "
                "restore the file; with another seed its funds would be lost"
            )
        files.replace(path, bip39.mnemonic_from_bytes(os.urandom(16)) + "\n")
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"others can read the seed file ({path}): chmod 600 it")
    words = " ".join(path.read_text().split())
    if not bip39.mnemonic_is_valid(words):
        raise ConfigError(f"{path} does not hold twelve BIP 39 words: restore it")
    return bytes(bip39.mnemonic_to_seed(words))

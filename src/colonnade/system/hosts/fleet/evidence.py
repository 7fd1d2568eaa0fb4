"""Where a fleet keeps its stores, for those who read them beside it."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from colonnade.persistence import DataDirectory

__all__ = ["read_evidence", "write_evidence"]

_NAME = "stores.json"


def write_evidence(data: DataDirectory, stores: Mapping[str, str]) -> None:
    """Say in the data directory where the store of each service is; its owner alone may read that."""
    path = data.path / "fleet" / _NAME
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(stores))


def read_evidence(data: Path) -> Mapping[str, str] | None:
    """The addresses of the stores by service; None where no fleet keeps its data there."""
    path = data / "fleet" / _NAME
    return msgspec.json.decode(path.read_bytes(), type=dict[str, str]) if path.exists() else None

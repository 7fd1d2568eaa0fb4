"""What has been written, made to outlive a power cut."""

import os
from pathlib import Path

__all__ = ["sync"]


def sync(path: Path) -> None:
    """Return when a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

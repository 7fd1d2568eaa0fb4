"""Where a message goes: the partition of its key."""

import zlib

__all__ = ["PARTITIONS", "partition_of"]

PARTITIONS = 8
"""Into how many partitions the outbox of a new store spreads its keys; fixed when the store is made."""


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: stable over processes and versions of Python."""
    return zlib.crc32(key.encode()) % partitions

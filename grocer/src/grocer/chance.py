"""Chance that can be repeated: drawn from a seed and a name, never from the order in which it is asked for."""

from hashlib import blake2b

__all__ = ["chance"]


def chance(seed: int, *name: object) -> float:
    """A number in [0, 1), evenly spread over names and the same for ever for one seed and one name."""
    digest = blake2b("/".join(map(str, (seed, *name))).encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / (1 << 53)  # the 53 bits that a float holds without rounding up to 1

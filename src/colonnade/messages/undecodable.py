"""How bytes can fail to be what they should be."""

import msgspec

__all__ = ["UNDECODABLE"]

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec's decoders raise: for another shape, for what is not UTF-8, for what is nested a thousand deep."""

"""The outcome of a command, on its way back to the saga that sent it."""

from typing import ClassVar

import msgspec

from colonnade.domain import Refusal

__all__ = ["Reply"]


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a command ended: done, or refused with a code and a sentence."""

    NAME: ClassVar[str] = "colonnade.Reply"

    refused: str | None = None
    detail: str | None = None

    @classmethod
    def of(cls, service: str, refusal: Refusal | None) -> "Reply":
        """The reply of `service` that says done, or names `refusal`."""
        if refusal is None:
            return cls()
        return cls(f"{service}.{refusal.code}", str(refusal))

    def encode(self) -> bytes:
        """The reply as JSON."""
        return _ENCODER.encode(self)

    @staticmethod
    def decode(data: bytes | msgspec.Raw) -> "Reply":
        """The reply in `data`; raises `msgspec.DecodeError`."""
        return _DECODER.decode(data)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Reply)

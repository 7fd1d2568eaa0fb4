"""The outcome of a command, on its way back to the saga that sent it."""

from typing import ClassVar

import msgspec

from colonnade.domain import Refusal

__all__ = ["Reply"]


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a command ended: done, or refused with a code and a sentence.

    `settled` when it had been left open: this is the answer to all askings that came meanwhile.
    """

    NAME: ClassVar[str] = "colonnade.Reply"

    refused: str | None = None
    detail: str | None = None
    settled: bool = False

    @classmethod
    def of(cls, service: str, refusal: Refusal | None, *, settled: bool = False) -> "Reply":
        """The reply of `service` that says done, or names `refusal`."""
        if refusal is None:
            return cls(settled=settled)
        return cls(f"{service}.{refusal.code}", str(refusal), settled)

    def encode(self) -> bytes:
        """The reply as JSON."""
        return _ENCODER.encode(self)

    @staticmethod
    def decode(data: bytes | msgspec.Raw) -> "Reply":
        """The reply in `data`; raises `msgspec.DecodeError`."""
        return _DECODER.decode(data)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Reply)

"""Messages to JSON and back, by stored name."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from colonnade.messages.guards import Guard, guard_of
from colonnade.messages.message import Message
from colonnade.messages.names import MessageNames
from colonnade.messages.undecodable import UNDECODABLE

__all__ = ["Encoded", "MalformedMessage", "MessageCodec", "NewerVersion"]


_Decoder = tuple[int, Callable[[bytes | msgspec.Raw], Message], Guard | None]


class Encoded(NamedTuple):
    """A message as it is stored: name, version of its schema, JSON."""

    name: str
    version: int
    data: bytes


class MalformedMessage(ValueError):
    """JSON that does not fit the message it is said to be."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"The data is not a {self.name}: {self.reason}."


class NewerVersion(ValueError):
    """A message of a newer version than this code knows."""

    def __init__(self, name: str, version: int, known: int) -> None:
        super().__init__(name, version, known)
        self.name, self.version, self.known = name, version, known

    def __str__(self) -> str:
        return f"{self.name} has version {self.version}, this code knows {self.known}; deploy the newer code first."


class MessageCodec:
    """Encodes and decodes the messages of a system by their stored names.

    Unknown fields are tolerated, as stored and brokered messages must be; NaN, infinite decimals and times without
    a zone are refused both ways.
    """

    def __init__(self, names: MessageNames) -> None:
        self.names = names
        self._encoder = msgspec.json.Encoder()
        self._decoders: dict[str, _Decoder] = {}

    def encode(self, message: Message) -> Encoded:
        """`message` as it is stored; raises `MalformedMessage` for a NaN, an infinity or a time without a zone."""
        kind = type(message)
        name = self.names.name_of(kind)
        guard = guard_of(kind)
        if guard is not None:
            try:
                guard(message)
            except ValueError as error:
                raise MalformedMessage(name, str(error)) from error
        return Encoded(name, kind.message_version, self._encoder.encode(message))

    def decode(self, name: str, version: int, data: bytes | msgspec.Raw) -> Message:
        """The message stored as `name`; raises `UnknownMessage`, `NewerVersion` or `MalformedMessage`."""
        (message,) = self.decode_all(((name, version, data),))
        return message

    def decode_all(self, stored: Iterable[tuple[str, int, bytes | msgspec.Raw]]) -> Sequence[Message]:
        """The messages of name, version and JSON each; raises as `decode` does."""
        messages = []
        decoders = self._decoders
        for name, version, data in stored:
            newest, decode, guard = decoders.get(name) or self._know(name)
            if version > newest:
                raise NewerVersion(name, version, newest)
            try:
                message = decode(data)
            except UNDECODABLE as error:
                raise MalformedMessage(name, str(error)) from error
            if guard is not None:
                try:
                    guard(message)
                except ValueError as error:
                    raise MalformedMessage(name, str(error)) from error
            messages.append(message)
        return messages

    def _know(self, name: str) -> _Decoder:
        kind = self.names.class_of(name)
        known = self._decoders[name] = kind.message_version, msgspec.json.Decoder(kind).decode, guard_of(kind)
        return known

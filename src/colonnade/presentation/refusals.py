"""Refusals on their way from one process of the system to another."""

from typing import Any

import msgspec

from colonnade.domain import Conflict, Refusal
from colonnade.domain.refusals import field_types, place_of, refusal_at

__all__ = ["RefusedElsewhere", "read_refusal", "refusal_document"]


class RefusedElsewhere(Conflict):
    """A refusal whose class this process does not have: of a newer release, perhaps."""

    defined_at: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


class _Document(msgspec.Struct, frozen=True):
    place: str
    sentence: str
    fields: msgspec.Raw


_decode = msgspec.json.Decoder(_Document).decode


def refusal_document(refusal: Refusal) -> bytes:
    """What is sent."""
    fields = msgspec.Raw(msgspec.json.encode(refusal.fields))
    return msgspec.json.encode(_Document(place_of(type(refusal)), str(refusal), fields))


def read_refusal(document: bytes) -> Refusal:
    """The refusal that was sent: of its own class where that is here and its fields fit."""
    sent = _decode(document)
    kind = refusal_at(sent.place)
    if kind is None:
        return RefusedElsewhere(sent.place, sent.sentence)
    values: dict[str, Any] = {}
    given: dict[str, msgspec.Raw] = msgspec.json.decode(sent.fields, type=dict[str, msgspec.Raw])
    try:
        for name, type_ in field_types(kind).items():
            if name in given:
                values[name] = msgspec.json.decode(given[name], type=type_)
        return kind(**values)
    except (msgspec.MsgspecError, TypeError):  # it has other fields there
        return RefusedElsewhere(sent.place, sent.sentence)

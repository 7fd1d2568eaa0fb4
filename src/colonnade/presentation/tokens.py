"""Consistency tokens: what a caller has seen of a service, given back to read at least as much."""

from collections.abc import Mapping
from uuid import UUID

from colonnade.persistence.reads import RequiredPosition
from colonnade.presentation.problems import Problem

__all__ = ["TOKEN_HEADER", "brought_forward", "format_token", "parse_token"]

TOKEN_HEADER = b"colonnade-token"


def format_token(service: str, history: UUID, position: int) -> str:
    """The token of a position; opaque to clients."""
    return f"{service}.{history.hex}.{position:x}"


def parse_token(token: str) -> RequiredPosition:
    """What a token says; raises a `Problem` for what is none."""
    try:
        service, history, position = token.split(".")
        return RequiredPosition(service, UUID(hex=history), int(position, 16))
    except ValueError:
        raise Problem(
            400,
            "colonnade.MalformedToken",
            "Colonnade-Token is not a token; give back the header of an earlier answer, unchanged, or none.",
        ) from None


def brought_forward(
    required: RequiredPosition, service: str, history: UUID, ended: Mapping[UUID, int]
) -> RequiredPosition:
    """What a token of a history before the present one says of this; raises a `Problem` for what was lost in between.

    `ended` are the histories before, each with the position up to which the present one has the same.
    """
    shared = ended.get(required.history) if required.service == service else None
    if shared is None:
        return required
    if required.position > shared:
        raise Problem(
            409,
            "colonnade.LostPosition",
            f"What was seen of {service} after {shared} was lost when its database was recovered; look at what there "
            "is without Colonnade-Token, and repeat what is missing.",
        )
    return RequiredPosition(service, history, required.position)

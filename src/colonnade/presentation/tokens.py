"""Consistency tokens: what a caller has seen of a service, given back to read at least as much."""

from uuid import UUID

from colonnade.persistence.reads import RequiredPosition
from colonnade.presentation.problems import Problem

__all__ = ["TOKEN_HEADER", "format_token", "parse_token"]

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

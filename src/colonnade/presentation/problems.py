"""Problem details: errors as documents (RFC 9457)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from colonnade.domain import Conflict, Forbidden, Invalid, NotFound, Refusal

__all__ = ["PROBLEM_JSON", "Problem", "problem_of_refusal", "problem_type"]

PROBLEM_JSON = b"application/problem+json"

_STATUS_OF_KIND: Mapping[str, int] = {
    Invalid.kind: 422,
    NotFound.kind: 404,
    Conflict.kind: 409,
    Forbidden.kind: 403,
}

_RESERVED = frozenset({"type", "title", "status", "detail", "instance"})


class Problem(Exception):
    """An answer that is an error: a status, a code that programs can tell apart, a sentence, and its data."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        title: str | None = None,
        fields: Mapping[str, Any] | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(status, code, detail)
        self.status, self.code, self.detail = status, code, detail
        self.title = title or HTTPStatus(status).phrase
        self.fields = fields or {}
        self.headers = headers

    def __str__(self) -> str:
        return self.detail

    def document(self) -> bytes:
        """The problem as JSON; fields whose names the document needs itself are left out."""
        fields = {name: value for name, value in self.fields.items() if name not in _RESERVED}
        document = {
            "type": problem_type(self.code), "title": self.title, "status": self.status, "detail": self.detail,
            **fields,
        }  # fmt: skip
        return msgspec.json.encode(document)


def problem_type(code: str) -> str:
    """The URI of a kind of problem, made of the service and the name of its class."""
    return f"urn:problem:{code}"


def problem_of_refusal(refusal: Refusal, service: str) -> Problem:
    """A refusal of `service` as a problem."""
    return Problem(
        _STATUS_OF_KIND.get(refusal.kind, 409),
        f"{service}.{refusal.code}",
        str(refusal),
        title=refusal.rule,
        fields=refusal.fields,
    )

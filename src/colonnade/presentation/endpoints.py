"""One table of endpoints, from which routes, bindings and OpenAPI are derived."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from starlette.types import ASGIApp

from colonnade.messages import Command, Query
from colonnade.presentation.caching import Cache

__all__ = ["Api", "Endpoint", "Get", "InvalidEndpoint", "Mount", "Post"]

C = TypeVar("C", bound=Command[Any])
Q = TypeVar("Q", bound=Query[Any])

_NAME = re.compile(r"{(\w+)}")
_PATH = re.compile(r"(/([A-Za-z0-9._~-]+|{[a-z_][a-z0-9_]*}))+")


class InvalidEndpoint(ValueError):
    """An endpoint that cannot be served as it is declared."""

    def __init__(self, path: str, reason: str, remedy: str) -> None:
        super().__init__(path, reason, remedy)
        self.path, self.reason, self.remedy = path, reason, remedy

    def __str__(self) -> str:
        return f"The endpoint {self.path} {self.reason}; {self.remedy}."


@dataclass(frozen=True, slots=True)
class Post(Generic[C]):
    """POST `path` carries out a command: path names become its fields, the JSON body the others.

    `creates` is the path of what it makes: the answer is then 201 with Location and the id. Every POST takes an
    Idempotency-Key.
    """

    path: str
    message: type[C]
    creates: str | None = field(default=None, kw_only=True)
    example: C | None = field(default=None, kw_only=True)

    method = "POST"

    def __post_init__(self) -> None:
        _check(self)
        if self.creates is not None and set(_NAME.findall(self.creates)) - set(self.path_names) != {"id"}:
            raise InvalidEndpoint(self.path, f"creates {self.creates}", "name the new thing there as {id}")

    @property
    def path_names(self) -> tuple[str, ...]:
        """The names in the path."""
        return tuple(_NAME.findall(self.path))


@dataclass(frozen=True, slots=True)
class Get(Generic[Q]):
    """GET `path` answers a query: path names and the query string become its fields.

    Without a `cache` its answers are kept nowhere.
    """

    path: str
    message: type[Q]
    cache: Cache | None = field(default=None, kw_only=True)
    example: Q | None = field(default=None, kw_only=True)

    method = "GET"

    def __post_init__(self) -> None:
        _check(self)

    @property
    def path_names(self) -> tuple[str, ...]:
        """The names in the path."""
        return tuple(_NAME.findall(self.path))


@dataclass(frozen=True, slots=True)
class Mount:
    """Any ASGI application beside the table, under a prefix."""

    path: str
    app: ASGIApp


Endpoint = Post[Any] | Get[Any]


class Api:
    """The endpoints of one service; raises `InvalidEndpoint` for two that answer the same method and path."""

    __slots__ = ("endpoints", "mounts")

    def __init__(self, *entries: Endpoint | Mount) -> None:
        self.endpoints: Sequence[Endpoint] = tuple(entry for entry in entries if not isinstance(entry, Mount))
        self.mounts: Sequence[Mount] = tuple(entry for entry in entries if isinstance(entry, Mount))
        seen: set[tuple[str, str]] = set()
        for endpoint in self.endpoints:
            route = (endpoint.method, _NAME.sub("{}", endpoint.path))
            if route in seen:
                raise InvalidEndpoint(f"{endpoint.method} {endpoint.path}", "is declared twice", "remove one")
            seen.add(route)


def _check(endpoint: Endpoint) -> None:
    if not _PATH.fullmatch(endpoint.path):
        raise InvalidEndpoint(endpoint.path, "is not a path", "write it like /orders/{order_id}")
    names = endpoint.path_names
    if len(set(names)) != len(names):
        raise InvalidEndpoint(endpoint.path, "has one name twice", "give each part its own")
    fields = endpoint.message.__struct_fields__
    if missing := [name for name in names if name not in fields]:
        raise InvalidEndpoint(
            endpoint.path,
            f"names {', '.join(missing)}, which {endpoint.message.__name__} does not have",
            f"use its fields: {', '.join(fields)}",
        )

"""Long lists in pages, each telling where the next one begins (keyset pagination)."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

import msgspec

from colonnade.domain import Invalid
from colonnade.messages import Value

__all__ = ["InvalidCursor", "Page", "PageSize", "cursor_at", "cursor_keys"]

T = TypeVar("T")

PageSize = Annotated[int, msgspec.Meta(ge=1, le=100)]
"""How many items a page may hold."""


class Page(Value, Generic[T]):
    """Some items of a list; `next` is what to give as `after` for those that follow, None behind the last."""

    items: tuple[T, ...]
    next: str | None = None


class InvalidCursor(Invalid):
    """A cursor is the `next` of a page of the same list, unchanged."""

    cursor: str


def cursor_at(*keys: str | int) -> str:
    """The cursor behind the item with these sort keys; opaque to clients."""
    return urlsafe_b64encode(msgspec.json.encode(keys)).rstrip(b"=").decode()


def cursor_keys(cursor: str, *kinds: type[str] | type[int]) -> Sequence[str | int]:
    """The sort keys, one of each of `kinds`, that `cursor` was made from; raises `InvalidCursor`."""
    try:
        keys = msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=list[str | int])
    except (ValueError, msgspec.DecodeError):
        raise InvalidCursor(cursor) from None
    if len(keys) != len(kinds) or any(not isinstance(key, kind) for key, kind in zip(keys, kinds, strict=True)):
        raise InvalidCursor(cursor)
    return keys

"""Unknown fields, refused at every depth where data comes from people."""

from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ["UnknownField", "unknown_fields_check"]

Check = Callable[[Any, str], None]


class UnknownField(ValueError):
    """Data has a field that its message does not know."""

    def __init__(self, field: str, path: str, known: tuple[str, ...]) -> None:
        super().__init__(field, path, known)
        self.field, self.path, self.known = field, path, known

    def __str__(self) -> str:
        return f"Unknown field `{self.field}` - at `{self.path}`; known are {', '.join(self.known)}"


def unknown_fields_check(kind: type) -> Check | None:
    """A check of decoded JSON (dicts, lists, scalars) against `kind`, or None where nothing is nested in it.

    msgspec refuses unknown fields of one struct, not of those within it; the struct's own level is left to msgspec.
    The check takes the value and its path, and raises `UnknownField`.
    """
    info = msgspec.inspect.type_info(kind)
    if not isinstance(info, msgspec.inspect.StructType):
        return None
    inner = {field.encode_name: below for field in info.fields if (below := _check(field.type)) is not None}
    return _of_fields(inner) if inner else None


def _check(info: msgspec.inspect.Type) -> Check | None:
    match info:
        case msgspec.inspect.StructType():
            return _of_struct(info)
        case msgspec.inspect.CollectionType():
            return _of_items(_check(info.item_type))
        case msgspec.inspect.TupleType():
            return _of_positions([_check(item) for item in info.item_types])
        case msgspec.inspect.DictType():
            return _of_values(_check(info.value_type))
        case msgspec.inspect.UnionType():
            return _of_union(info)
        case _:
            return None


def _of_struct(info: msgspec.inspect.StructType) -> Check:
    known = tuple(field.encode_name for field in info.fields)
    allowed = {*known, info.tag_field} if info.tag_field is not None else set(known)
    inner = {field.encode_name: below for field in info.fields if (below := _check(field.type)) is not None}

    def check(value: Any, path: str) -> None:
        if not value.keys() <= allowed:
            raise UnknownField(sorted(value.keys() - allowed)[0], path, known)
        for name, below in inner.items():
            if name in value:
                below(value[name], f"{path}.{name}")

    return check


def _of_fields(inner: dict[str, Check]) -> Check:
    def check(value: Any, path: str) -> None:
        for name, below in inner.items():
            if name in value:
                below(value[name], f"{path}.{name}")

    return check


def _of_items(item: Check | None) -> Check | None:
    if item is None:
        return None

    def check(values: Any, path: str) -> None:
        for index, value in enumerate(values):
            item(value, f"{path}[{index}]")

    return check


def _of_positions(items: list[Check | None]) -> Check | None:
    if not any(items):
        return None

    def check(values: Any, path: str) -> None:
        for index, (value, item) in enumerate(zip(values, items, strict=True)):
            if item is not None:
                item(value, f"{path}[{index}]")

    return check


def _of_values(item: Check | None) -> Check | None:
    if item is None:
        return None

    def check(values: Any, path: str) -> None:
        for key, value in values.items():
            item(value, f"{path}.{key}")

    return check


def _of_union(info: msgspec.inspect.UnionType) -> Check | None:
    structs = [member for member in info.types if isinstance(member, msgspec.inspect.StructType)]
    others = [member for member in info.types if isinstance(member, msgspec.inspect.CollectionType)]
    by_tag = {member.tag: _of_struct(member) for member in structs}
    items = _check(others[0]) if others else None
    if not structs and items is None:
        return None
    tag_field = structs[0].tag_field if structs else None

    def check(value: Any, path: str) -> None:
        if isinstance(value, dict) and structs:
            tag = value.get(tag_field) if tag_field is not None else structs[0].tag
            if (below := by_tag.get(tag)) is not None:
                below(value, path)
        elif isinstance(value, list) and items is not None:
            items(value, path)

    return check

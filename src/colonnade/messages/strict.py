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
    inner = _inner(info, {})
    return _of_fields(inner) if inner else None


def _check(info: msgspec.inspect.Type, made: dict[type, Check]) -> Check | None:
    match info:
        case msgspec.inspect.StructType():
            return made.get(info.cls) or _of_struct(info, made)
        case msgspec.inspect.CollectionType():
            return _of_items(_check(info.item_type, made))
        case msgspec.inspect.TupleType():
            return _of_positions([_check(item, made) for item in info.item_types])
        case msgspec.inspect.DictType():
            return _of_values(_check(info.value_type, made))
        case msgspec.inspect.UnionType():
            return _of_union(info, made)
        case _:
            return None


def _inner(info: msgspec.inspect.StructType, made: dict[type, Check]) -> dict[str, Check]:
    return {field.encode_name: below for field in info.fields if (below := _check(field.type, made)) is not None}


def _of_struct(info: msgspec.inspect.StructType, made: dict[type, Check]) -> Check:
    known = tuple(field.encode_name for field in info.fields)
    allowed = {*known, info.tag_field} if info.tag_field is not None else set(known)

    def check(value: Any, path: str) -> None:
        if not value.keys() <= allowed:
            raise UnknownField(sorted(value.keys() - allowed)[0], path, known)
        below(value, path)

    # Known before what it holds is looked at, for that may be one of its own kind
    made[info.cls] = check
    below = _of_fields(_inner(info, made))
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


def _of_union(info: msgspec.inspect.UnionType, made: dict[type, Check]) -> Check | None:
    # msgspec allows one kind of list at most, and either one kind of dict, one struct, or structs told by their tags
    structs = {each.tag: each for each in info.types if isinstance(each, msgspec.inspect.StructType)}
    # Of one struct alone msgspec wants no tag, though it has one
    tag_field = next((each.tag_field for each in structs.values()), None) if len(structs) > 1 else None
    by_tag = {tag if tag_field else None: _check(each, made) for tag, each in structs.items()}
    others = [each for each in info.types if not isinstance(each, msgspec.inspect.StructType)]
    of_dicts = next((_check(each, made) for each in others if isinstance(each, msgspec.inspect.DictType)), None)
    of_lists = next((_check(each, made) for each in others if isinstance(each, _LISTS)), None)
    if not by_tag and of_dicts is None and of_lists is None:
        return None

    def check(value: Any, path: str) -> None:
        below: Check | None = None
        if isinstance(value, dict):
            below = by_tag.get(value.get(tag_field)) if by_tag else of_dicts
        elif isinstance(value, list):
            below = of_lists
        if below is not None:
            below(value, path)

    return check


_LISTS = (msgspec.inspect.CollectionType, msgspec.inspect.TupleType)

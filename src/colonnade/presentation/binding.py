"""Requests to messages: path, query string and JSON body become one validated command or query."""

from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec

from colonnade.messages import Message
from colonnade.messages.guards import guard_of
from colonnade.messages.strict import UnknownField, unknown_fields_check
from colonnade.messages.undecodable import UNDECODABLE
from colonnade.presentation.problems import Problem

__all__ = ["BodyBinding", "QueryBinding"]

_QUERY_LIMIT = 100
"""Parameters; more of them are not a query."""


class BodyBinding:
    """Makes commands of path values and a JSON body."""

    def __init__(self, message: type[Message], path_names: tuple[str, ...]) -> None:
        self._message = message
        self._path = _PathBinding(message, path_names)
        info = msgspec.inspect.type_info(message)
        assert isinstance(info, msgspec.inspect.StructType)
        fields = {field.name: field for field in _fields(message)}
        self._names = tuple(name for name in fields if name not in path_names)
        # Only the body's own fields, so that a name of the path is refused in the body like any unknown one
        self._body = msgspec.json.Decoder(
            msgspec.defstruct(
                f"{message.__name__}Body",
                [_definition(fields[name]) for name in self._names],
                forbid_unknown_fields=True,
                kw_only=True,
            )
        )
        self._check = unknown_fields_check(message)
        self._guard = guard_of(message)
        self._raw = msgspec.json.Decoder()

    def bind(self, path: Mapping[str, str], body: bytes) -> Message:
        """The command; raises a `Problem` that names the place in the body."""
        values = self._path.bind(path)
        if not body and not self._names:
            body = b"{}"
        try:
            decoded = self._body.decode(body)
            if self._check is not None:
                self._check(self._raw.decode(body), "$")
        except (*UNDECODABLE, UnknownField) as error:
            _refuse_other_than_utf8(body)  # whatever else seems to be wrong with it
            if isinstance(error, msgspec.ValidationError | UnknownField):
                raise _invalid(error) from error
            if isinstance(error, RecursionError):
                raise Problem(400, "colonnade.BodyTooDeep", "The body is nested too deeply to be read.") from error
            raise Problem(400, "colonnade.MalformedJson", f"The body is not JSON: {error}.") from error
        for name in self._names:
            values[name] = getattr(decoded, name)
        return _guarded(self._message, values, self._guard)


def _refuse_other_than_utf8(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, "colonnade.NotUtf8", f"The body is not UTF-8: {error}.") from error


class QueryBinding:
    """Makes queries of path values and the query string. An empty value is as good as none."""

    def __init__(self, message: type[Message], path_names: tuple[str, ...]) -> None:
        self._message = message
        self._path = _PathBinding(message, path_names)
        self._guard = guard_of(message)
        fields = [field for field in _fields(message) if field.name not in path_names]
        self._known = frozenset(field.encode_name for field in fields)
        self._parameters = msgspec.defstruct(
            f"{message.__name__}Parameters", [_definition(field) for field in fields], kw_only=True
        )
        self._names = tuple(field.name for field in fields)

    def bind(self, path: Mapping[str, str], query_string: bytes) -> Message:
        """The query; raises a `Problem` that names the parameter."""
        values = self._path.bind(path)
        given: dict[str, str] = {}
        if query_string:
            try:
                pairs = parse_qsl(
                    query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_QUERY_LIMIT
                )
            except (ValueError, UnicodeDecodeError) as error:
                raise Problem(400, "colonnade.MalformedQuery", f"The query string cannot be read: {error}.") from error
            for name, value in pairs:
                if name not in self._known:
                    known = ", ".join(sorted(self._known)) or "none"
                    raise Problem(
                        422,
                        "colonnade.UnknownParameter",
                        f"There is no parameter `{name}`; known are {known}.",
                        fields={"parameter": name},
                    )
                if name in given:
                    raise Problem(
                        422,
                        "colonnade.RepeatedParameter",
                        f"The parameter `{name}` is given twice; give it once.",
                        fields={"parameter": name},
                    )
                if value:
                    given[name] = value
        try:
            parameters = msgspec.convert(given, self._parameters, strict=False)
        except msgspec.ValidationError as error:
            raise _invalid(error) from error
        for name in self._names:
            values[name] = getattr(parameters, name)
        return _guarded(self._message, values, self._guard)


class _PathBinding:
    def __init__(self, message: type[Message], names: tuple[str, ...]) -> None:
        fields = {field.name: field for field in _fields(message)}
        self._fields = [(name, fields[name].type) for name in names]

    def bind(self, path: Mapping[str, str]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, kind in self._fields:
            try:
                values[name] = msgspec.convert(path[name], kind, strict=False)
            except msgspec.ValidationError as error:
                raise Problem(
                    422,
                    "colonnade.MalformedPath",
                    f"`{name}` in the path is {path[name]!r}: {error}.",
                    fields={"parameter": name},
                ) from error
        return values


def _fields(message: type[Message]) -> tuple[msgspec.structs.FieldInfo, ...]:
    # A message is a Struct at run time; type checkers know it by its constructor only
    return msgspec.structs.fields(cast(type[msgspec.Struct], message))


def _definition(field: msgspec.structs.FieldInfo) -> tuple[str, Any, Any] | tuple[str, Any]:
    if field.default is not msgspec.NODEFAULT:
        return (field.name, field.type, field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return (field.name, field.type, msgspec.field(default_factory=field.default_factory))
    return (field.name, field.type)


def _guarded(message: type[Message], values: dict[str, Any], guard: Callable[[Any], None] | None) -> Message:
    try:
        bound = message(**values)
        if guard is not None:
            guard(bound)
    except ValueError as error:
        raise _invalid(error) from error
    return bound


def _invalid(error: ValueError | msgspec.ValidationError) -> Problem:
    text = str(error)
    _reason, _, place = text.partition(" - at `")
    fields = {"pointer": place.partition("`")[0]} if place else {}
    return Problem(422, "colonnade.InvalidRequest", f"{text}.", title="The request is not valid", fields=fields)

"""Refusals: what the business answers when a rule forbids what was asked."""

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform, get_type_hints

__all__ = ["Conflict", "Forbidden", "Invalid", "NotFound", "Refusal", "field_types", "place_of", "refusal_at"]

if TYPE_CHECKING:

    @dataclass_transform(field_specifiers=())
    class _FieldsMeta(type):
        pass

else:
    _FieldsMeta = type


_AT: "dict[str, type[Refusal]]" = {}


def place_of(kind: "type[Refusal]") -> str:
    """Where a refusal is defined: how processes that run the same code name it to each other."""
    return f"{kind.__module__}:{kind.__qualname__}"


def refusal_at(place: str) -> "type[Refusal] | None":
    """The refusal that is defined there, if this process has its code."""
    return _AT.get(place)


@cache
def _names_of(kind: "type[Refusal]") -> tuple[str, ...]:
    hints = get_type_hints(kind)
    return tuple(name for name, hint in hints.items() if getattr(hint, "__origin__", hint) is not ClassVar)


def field_types(kind: "type[Refusal]") -> dict[str, Any]:  # Any: an annotation can be any form that typing knows
    """The annotations of a refusal's fields, by name."""
    hints = get_type_hints(kind)
    return {name: hints[name] for name in kind.field_names()}


class Refusal(Exception, metaclass=_FieldsMeta):
    """An answer that says no: of a kind (invalid, not found, conflict, forbidden), with a code and fields.

    A subclass states its rule as its docstring and its data as annotated fields, which its constructor takes in
    order or by name. What a refused command recorded is dropped; the refusal itself is kept as the command's answer.
    """

    kind: ClassVar[str] = "refused"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        _AT[place_of(cls)] = cls

    if not TYPE_CHECKING:

        def __init__(self, *values: Any, **named: Any) -> None:
            names = type(self).field_names()
            if len(values) > len(names):
                raise TypeError(f"{type(self).__name__} takes {len(names)} fields, not {len(values)}")
            given = dict(zip(names, values, strict=False))
            if twice := given.keys() & named.keys():
                raise TypeError(f"{type(self).__name__} was given {', '.join(sorted(twice))} twice")
            given |= named
            if unknown := given.keys() - set(names):
                raise TypeError(f"{type(self).__name__} has no field {', '.join(sorted(unknown))}")
            if missing := [name for name in names if name not in given and not hasattr(type(self), name)]:
                raise TypeError(f"{type(self).__name__} lacks {', '.join(missing)}")
            super().__init__(*(given[name] for name in names if name in given))
            for name, value in given.items():
                setattr(self, name, value)

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """The names of its fields, in the order in which the constructor takes them."""
        return _names_of(cls)

    @property
    def code(self) -> str:
        """Its class's name, by which callers tell refusals apart."""
        return type(self).__name__

    @property
    def rule(self) -> str:
        """The first line of its docstring: the rule that forbids."""
        return (type(self).__doc__ or type(self).__name__).strip().splitlines()[0]

    @property
    def fields(self) -> dict[str, Any]:  # Any: fields are of the author's own types
        """Its data by name."""
        return {name: getattr(self, name) for name in type(self).field_names()}

    def __str__(self) -> str:
        fields = ", ".join(f"{name}={value}" for name, value in self.fields.items())
        return f"{self.rule} ({fields})" if fields else self.rule


class Invalid(Refusal, ValueError):
    """What was asked makes no sense, whatever the state."""

    kind = "invalid"


class NotFound(Refusal):
    """There is nothing of that identity."""

    kind = "not-found"


class Conflict(Refusal):
    """The present state forbids it; in another state it might be allowed."""

    kind = "conflict"


class Forbidden(Refusal):
    """This caller may not do it."""

    kind = "forbidden"

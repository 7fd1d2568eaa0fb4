"""Reads declarations: the one room that looks at annotations and base arguments, once, when a system is built."""

import inspect
import zlib
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType, UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

import msgspec

from colonnade.application import Deferred, Repository, Saga, Subscriber
from colonnade.application.projection import Projection
from colonnade.domain import Aggregate
from colonnade.domain.aggregate import AnyAggregate
from colonnade.messages import Command, Event, Message, Query
from colonnade.persistence.kinds import AggregateKind
from colonnade.system.declarations import Declarations, DeclaredHandler, DeclaredReaction
from colonnade.system.errors import Mistake
from colonnade.system.service import Service

__all__ = ["answer_of", "read_declarations"]


def read_declarations(service: Service) -> tuple[Declarations, list[Mistake]]:
    """What `service` declares, and what is wrong with each declaration by itself."""
    mistakes: list[Mistake] = []
    handlers = [handler for kind in service.handlers if (handler := _handler(kind, mistakes)) is not None]
    aggregates = list(_aggregates([*service.handlers, *service.providers], mistakes))
    events = {aggregate: _events(aggregate, Aggregate, mistakes) for aggregate in aggregates}
    return (
        Declarations(
            service=service.name,
            contracts=tuple(_messages(service.contracts)),
            handlers=handlers,
            sagas=_reactions(service.sagas, Saga, mistakes),
            projections=_reactions(service.projections, Projection, mistakes),
            subscribers=_reactions(service.subscribers, Subscriber, mistakes),
            aggregates=[_kind(aggregate, mistakes) for aggregate in aggregates],
            aggregate_events=events,
            providers=service.providers,
        ),
        mistakes,
    )


def answer_of(message: type[Message]) -> Any:  # Any: an annotation can be any form that typing knows
    """The `R` of `Command[R]` or `Query[R]`; `NoneType` for a bare command."""
    for base in getattr(message, "__orig_bases__", ()):
        if get_origin(base) in (Command, Query):
            (answer,) = get_args(base)
            return answer
    return type(None)


def _messages(contracts: ModuleType | None) -> Iterator[type[Message]]:
    if contracts is None:
        return
    for value in vars(contracts).values():
        if isinstance(value, type) and issubclass(value, Message) and value.__module__ == contracts.__name__:
            yield value


_SILENT = object()


def _handler(kind: type[Any], mistakes: list[Mistake]) -> DeclaredHandler | None:
    place = _place(kind)
    hints = _hints(vars(kind).get("__call__"), place, mistakes)
    if hints is None:
        return None
    answer = hints.pop("return", _SILENT)
    messages = [hint for hint in hints.values() if isinstance(hint, type) and issubclass(hint, Command | Query)]
    if len(messages) != 1 or len(hints) != 1:
        mistakes.append(
            Mistake(place, "its __call__ does not take exactly one command or query", "annotate that one parameter")
        )
        return None
    expected = answer_of(messages[0])
    if answer is _SILENT:
        mistakes.append(
            Mistake(place, "its __call__ does not say what it answers", f"annotate it with -> {_name(expected)}")
        )
    elif not _fits(answer, expected):
        mistakes.append(
            Mistake(
                place,
                f"it answers {_name(answer)}, but {messages[0].__name__} is answered with {_name(expected)}",
                f"return {_name(expected)}, or change the message's base",
            )
        )
    return DeclaredHandler(kind, messages[0])


def _fits(answer: Any, expected: Any) -> bool:
    if answer == expected:
        return True
    members = set(_members(answer))
    if Deferred in members:
        return members - {Deferred} <= {expected}
    if isinstance(expected, type) and isinstance(answer, type):
        return issubclass(answer, expected)
    return False


def _reactions(kinds: Iterable[type[Any]], base: type, mistakes: list[Mistake]) -> list[DeclaredReaction]:
    return [DeclaredReaction(kind, _events(kind, base, mistakes)) for kind in kinds]


def _events(kind: type[Any], base: type, mistakes: list[Mistake]) -> tuple[type[Event], ...]:
    for above in kind.__mro__:
        for argument in getattr(above, "__orig_bases__", ()):
            if get_origin(argument) is base:
                events = tuple(_members(get_args(argument)[0]))
                if events and all(isinstance(event, type) and issubclass(event, Event) for event in events):
                    return events
    mistakes.append(
        Mistake(_place(kind), "its base does not name its events", f"write {base.__name__}[FirstEvent | SecondEvent]")
    )
    return ()


def _members(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in (Union, UnionType):
        yield from get_args(annotation)
    else:
        yield annotation


def _aggregates(users: Iterable[Any], mistakes: list[Mistake]) -> Iterator[type[AnyAggregate]]:
    seen: set[type[AnyAggregate]] = set()
    for user in users:
        target = user.__init__ if inspect.isclass(user) else user
        for hint in (_hints(target, _place(user), mistakes) or {}).values():
            if get_origin(hint) is Repository:
                (aggregate,) = get_args(hint)
                if aggregate not in seen:
                    seen.add(aggregate)
                    yield aggregate


def _kind(aggregate: type[AnyAggregate], mistakes: list[Mistake]) -> AggregateKind[Any]:
    if not aggregate.snapshot_every:
        return AggregateKind(aggregate, aggregate, aggregate.__name__)
    fields = {
        name: hint
        for name, hint in (_hints(aggregate, _place(aggregate), mistakes) or {}).items()
        if get_origin(hint) is not ClassVar and hint is not ClassVar and name not in _OWN_ATTRIBUTES
    }
    for name in [name for name, hint in fields.items() if not _is_json(hint)]:
        mistakes.append(
            Mistake(
                _place(aggregate),
                f"its snapshot cannot keep {name}, which is {_name(fields.pop(name))}",
                "annotate it with what JSON can hold, or leave snapshot_every at 0",
            )
        )
    return AggregateKind(
        aggregate, aggregate, aggregate.__name__, AnnotatedState(aggregate, fields), aggregate.snapshot_every
    )


def _is_json(hint: Any) -> bool:
    try:
        msgspec.json.schema(hint)
    except TypeError:
        return False
    return True


_OWN_ATTRIBUTES = frozenset({"id", "_version", "_recorded"})


class AnnotatedState:
    """Keeps the annotated attributes of an aggregate as its snapshot."""

    def __init__(self, aggregate: type[AnyAggregate], fields: dict[str, Any]) -> None:
        self._aggregate = aggregate
        self._names = frozenset(fields)
        state = msgspec.defstruct(
            f"{aggregate.__name__}State", [(name, hint, msgspec.UNSET) for name, hint in fields.items()]
        )
        # All that lies below an annotation is part of the shape, as what a class that it names looks like
        shape = msgspec.json.schema(state)
        self.schema = zlib.crc32(msgspec.json.encode(shape, order="deterministic"))
        self._decoder = msgspec.json.Decoder(state)
        self._encoder = msgspec.json.Encoder()

    def encode(self, aggregate: AnyAggregate) -> bytes:
        """The state as JSON; raises `Mistake` when an attribute is not annotated on the class."""
        state = {name: value for name, value in vars(aggregate).items() if name not in _OWN_ATTRIBUTES}
        if forgotten := sorted(state.keys() - self._names):
            raise Mistake(
                _place(self._aggregate),
                f"its snapshot would lose {', '.join(forgotten)}",
                "annotate every attribute in the class body",
            )
        return self._encoder.encode(state)

    def restore(self, aggregate: AnyAggregate, data: bytes, version: int) -> None:
        """Put `aggregate` into the state that it had at `version`."""
        state = self._decoder.decode(data)
        for name in self._names:
            value = getattr(state, name)
            if value is not msgspec.UNSET:
                setattr(aggregate, name, value)
        aggregate._version = version


def _hints(target: Any, place: str, mistakes: list[Mistake]) -> dict[str, Any] | None:
    try:
        return dict(get_type_hints(target, include_extras=True)) if target is not None else {}
    except NameError as error:
        mistakes.append(
            Mistake(
                place, f"its annotation names {error.name!r}, which is not defined in its module", "import it there"
            )
        )
        return None


def _place(target: Callable[..., Any] | type[Any]) -> str:
    return f"{target.__module__}.{target.__qualname__}"


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)

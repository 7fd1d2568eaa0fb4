"""The kinds of message: values, events, commands and queries."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, dataclass_transform

import msgspec
from typing_extensions import TypeVar

__all__ = ["Command", "Event", "Message", "NonNegative", "Positive", "Query", "Value"]

Positive = Annotated[int, msgspec.Meta(gt=0)]
"""A whole number above zero, checked where data enters the system."""

NonNegative = Annotated[int, msgspec.Meta(ge=0)]
"""A whole number of zero or more, checked where data enters the system."""

R_co = TypeVar("R_co", covariant=True, default=None)

if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
    class _FrozenMeta(type):
        pass

    class _Frozen(metaclass=_FrozenMeta):
        message_version: ClassVar[int]

        def __init_subclass__(cls, *, version: int = 1, tag: str | int | None = None) -> None: ...

else:

    class _FrozenMeta(type(msgspec.Struct)):
        def __new__(
            mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, version: int = 1, **config: Any
        ):
            config.setdefault("frozen", True)
            message = super().__new__(mcls, name, bases, namespace, **config)
            message.message_version = version
            return message

    class _Frozen(msgspec.Struct, metaclass=_FrozenMeta):
        message_version: ClassVar[int]


class Value(_Frozen):
    """A part of messages and of domain state that is equal by content, like an amount of money.

    Constructors do not validate: data is validated where it is decoded, and aggregates guard what code makes.
    An invariant of its own goes into `__post_init__` and raises a `ValueError`, which a decoder reports with its path.
    A value that is one of several in a union declares a tag: `class Card(Value, tag="card")`.
    """


class Message(_Frozen):
    """What is sent, stored or asked: the base of events, commands and queries.

    `class OrderPlaced(Event, version=2)` states the version of the message's schema, which is stored beside it.
    """


class Event(Message):
    """Something that happened, in the past tense; never changed once it is recorded."""


class Command(Message, Generic[R_co]):
    """A wish to change something, answered with `R`; a bare `Command` answers `None`."""


class Query(Message, Generic[R_co]):
    """A question, answered with `R`, that changes nothing."""

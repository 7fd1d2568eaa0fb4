"""Stored names of messages: service and class, bound once, never a module path."""

from collections.abc import Iterable, Iterator, Mapping

from colonnade.messages.message import Message

__all__ = ["DuplicateName", "MessageNames", "UnknownMessage", "UnnamedMessage"]


class DuplicateName(ValueError):
    """Two message classes of one service would be stored under one name."""

    def __init__(self, name: str, first: type[Message], second: type[Message]) -> None:
        super().__init__(name, first, second)
        self.name, self.first, self.second = name, first, second

    @property
    def reason(self) -> str:
        """Which two."""
        return f"{_place(self.first)} and {_place(self.second)} would both be stored as {self.name!r}"

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return "rename one, or name it apart with Service(names={...})"

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}."


class UnknownMessage(LookupError):
    """A stored or received message has a name that no class of this system is bound to."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"No message is named {self.name!r} here; if its class was renamed, keep the stored name with "
            "Service(names={...})."
        )


class UnnamedMessage(LookupError):
    """A message's class belongs to no service of this system, so it has no stored name."""

    def __init__(self, message: type[Message]) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return (
            f"{_place(self.message)} belongs to no service of this system; define it in the contracts of one, "
            "or handle it in one."
        )


class MessageNames:
    """A two-way table of message classes and the names that they are stored and sent under."""

    def __init__(self) -> None:
        self._names: dict[type[Message], str] = {}
        self._classes: dict[str, type[Message]] = {}

    def bind(self, service: str, messages: Iterable[type[Message]], renamed: Mapping[type[Message], str]) -> None:
        """Name `messages` after `service` and their class, or as `renamed` says.

        Raises `DuplicateName` when a name is taken by another class.
        """
        for message in messages:
            name = f"{service}.{renamed.get(message, message.__name__)}"
            taken = self._classes.setdefault(name, message)
            if taken is not message:
                raise DuplicateName(name, taken, message)
            self._names[message] = name

    def name_of(self, message: type[Message]) -> str:
        """The name that `message` is stored under; raises `UnnamedMessage`."""
        try:
            return self._names[message]
        except KeyError:
            raise UnnamedMessage(message) from None

    def class_of(self, name: str) -> type[Message]:
        """The class that is stored under `name`; raises `UnknownMessage`."""
        try:
            return self._classes[name]
        except KeyError:
            raise UnknownMessage(name) from None

    def __contains__(self, message: type[Message]) -> bool:
        return message in self._names

    def __iter__(self) -> Iterator[type[Message]]:
        return iter(self._names)


def _place(message: type[Message]) -> str:
    return f"{message.__module__}.{message.__qualname__}"

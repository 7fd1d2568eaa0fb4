"""Messages to their handlers, of this service or of another one in the same process."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from colonnade.messages import Command, Message, Query
from colonnade.messages.names import UnnamedMessage
from colonnade.observability.correlation import Context, current_context
from colonnade.persistence.execution import Execution, Outcome, Refused
from colonnade.persistence.unit import Effect, Fence
from colonnade.persistence.work import current_work
from colonnade.world import World

__all__ = ["InProcessMediator", "MessageHandlers", "NestedCommand"]

R = TypeVar("R")

Handle = Callable[[Any], Awaitable[Any]]


class NestedCommand(RuntimeError):
    """A handler tried to carry out another command of its own service inside its unit of work."""

    def __init__(self, command: type[Message]) -> None:
        super().__init__(command)
        self.command = command

    def __str__(self) -> str:
        return (
            f"{self.command.__name__} is a command of the same service: one command is one unit of work; call the "
            "aggregate, or send it through the Outbox."
        )


class MessageHandlers:
    """The handlers of one service, each message to its one handler."""

    def __init__(self, service: str, handlers: Mapping[type[Message], Handle], execution: Execution) -> None:
        self.service = service
        self._handlers = handlers
        self._execution = execution

    async def execute(
        self,
        command: Command[R],
        context: Context,
        base: Sequence[Effect] = (),
        close: Callable[[Outcome[R]], Sequence[Effect]] | None = None,
        fence: Fence | None = None,
    ) -> Outcome[R]:
        """Carry `command` out in a unit of work of its own."""
        handle = self._handlers[type(command)]
        return await self._execution.run(lambda: handle(command), context=context, base=base, close=close, fence=fence)

    async def ask(self, query: Query[R]) -> R:
        """Answer `query`; raises the handler's refusal."""
        return cast(R, await self._handlers[type(query)](query))


class InProcessMediator:
    """Calls between services that share a process: a call, not a hop."""

    def __init__(self, service: str, owners: Mapping[type[Message], MessageHandlers], world: World) -> None:
        self._service = service
        self._owners = owners
        self._world = world

    async def execute(self, command: Command[R]) -> R:
        """Carry `command` out where it is handled; raises the handler's refusal."""
        owner = self._owner(type(command))
        if owner.service == self._service and current_work.get() is not None:
            raise NestedCommand(type(command))
        outcome = await owner.execute(command, self._context())
        if isinstance(outcome, Refused):
            raise outcome.refusal
        return outcome.value

    async def ask(self, query: Query[R]) -> R:
        """Answer `query` where it is handled; raises the handler's refusal."""
        return await self._owner(type(query)).ask(query)

    def _owner(self, message: type[Message]) -> MessageHandlers:
        try:
            return self._owners[message]
        except KeyError:
            raise UnnamedMessage(message) from None

    def _context(self) -> Context:
        context = current_context.get(None)
        return context if context is not None else Context(self._world.ids.new())

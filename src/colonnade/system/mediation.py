"""Messages to their handlers, of this service or of another one in the same process."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar, cast

from colonnade.messages import Command, Message, Query
from colonnade.messages.names import UnnamedMessage
from colonnade.observability.correlation import Context, current_context
from colonnade.persistence.execution import Execution, Outcome, Refused
from colonnade.persistence.unit import Effect, Fence
from colonnade.persistence.work import current_work
from colonnade.system.engines import Elsewhere
from colonnade.world import World

__all__ = ["MessageHandlers", "NestedCommand", "RoutingMediator"]

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

    def execute(
        self,
        command: Command[R],
        context: Context,
        base: Sequence[Effect] = (),
        close: Callable[[Outcome[R]], Sequence[Effect]] | None = None,
        fence: Fence | None = None,
        on_refusal: Callable[[], Awaitable[None]] | None = None,
    ) -> Coroutine[Any, Any, Outcome[R]]:
        """Carry `command` out in a unit of work of its own."""
        handle = self._handlers[type(command)]
        return self._execution.run(
            lambda: handle(command), context=context, base=base, close=close, fence=fence, on_refusal=on_refusal
        )

    async def ask(self, query: Query[R]) -> R:
        """Answer `query`; raises the handler's refusal."""
        return cast(R, await self._handlers[type(query)](query))


class RoutingMediator:
    """Calls between services: a call where they share a process, and only else a hop."""

    def __init__(
        self,
        service: str,
        owners: Mapping[type[Message], MessageHandlers],
        handled_by: Mapping[type[Message], str],
        elsewhere: Elsewhere | None,
        world: World,
        tenant: str | None = None,
    ) -> None:
        self._service = service
        self._owners = owners
        self._handled_by = handled_by
        self._elsewhere = elsewhere
        self._world = world
        self._tenant = tenant

    async def execute(self, command: Command[R]) -> R:
        """Carry `command` out where it is handled; raises the handler's refusal."""
        owner = self._owners.get(type(command))
        if owner is None:
            elsewhere, service = self._away(type(command))
            return await elsewhere.execute(service, command, self._context())
        if owner.service == self._service and current_work.get() is not None:
            raise NestedCommand(type(command))
        outcome = await owner.execute(command, self._context())
        if isinstance(outcome, Refused):
            raise outcome.refusal
        return outcome.value

    async def ask(self, query: Query[R]) -> R:
        """Answer `query` where it is handled; raises the handler's refusal."""
        owner = self._owners.get(type(query))
        if owner is None:
            elsewhere, service = self._away(type(query))
            return await elsewhere.ask(service, query, self._context())
        return await owner.ask(query)

    def _away(self, message: type[Message]) -> tuple[Elsewhere, str]:
        service = self._handled_by.get(message)
        if service is None or self._elsewhere is None:
            raise UnnamedMessage(message)
        return self._elsewhere, service

    def _context(self) -> Context:
        context = current_context.get(None)
        return context if context is not None else Context(self._world.ids.new(), tenant=self._tenant)

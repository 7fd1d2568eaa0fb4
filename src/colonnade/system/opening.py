"""The commands with which a service's new store begins, each carried out once."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from colonnade.messages import Command
from colonnade.observability.correlation import Context
from colonnade.persistence.execution import Outcome, Refused
from colonnade.persistence.store import Store
from colonnade.persistence.unit import Answer, Effect, Unit
from colonnade.system.errors import Mistake
from colonnade.system.mediation import MessageHandlers
from colonnade.world import World

__all__ = ["carry_out"]

_ALL = "opening"
_FOR_EVER = 1 << 62


async def carry_out(
    service: str,
    opening: Callable[[], Iterable[Command[Any]]],
    handlers: MessageHandlers,
    store: Store,
    world: World,
    tenant: str | None,
) -> None:
    """Carry out those of the commands that have not been; raises `Mistake` for one that is refused."""
    if await store.answers(_ALL):
        return
    for number, command in enumerate(opening()):
        scope = f"{_ALL}|{number}"
        if not await store.answers(scope):
            context = Context(world.ids.new(), tenant=tenant)
            await handlers.execute(command, context, (), partial(_noted, service, scope))
    done = Answer(_ALL, b"", b"", _FOR_EVER)
    await store.commit(Unit(world.clock.micros(), world.ids.new(), effects=[done]))


def _noted(service: str, scope: str, outcome: Outcome[Any]) -> Sequence[Effect]:
    if isinstance(outcome, Refused):
        raise Mistake(f"the service {service}", f"its opening was refused: {outcome.refusal}", "mend the opening")
    return (Answer(scope, b"", b"", _FOR_EVER),)

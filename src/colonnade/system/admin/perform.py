"""Carries operations out, on the services of a running host or on stores that were opened for it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from colonnade.messages.envelope import Envelope
from colonnade.persistence.failures import NotParked
from colonnade.persistence.store import ParkedMessage, Store
from colonnade.persistence.tables.build import told_of_held
from colonnade.persistence.tables.builds import Builds
from colonnade.persistence.unit import Discard, Effect, Unit, Unpark
from colonnade.system.admin.operations import (
    DiscardDeadLetters,
    ListProjections,
    Operation,
    OperationFailed,
    PassOverLost,
    RebuildProjection,
    ReplaceInstances,
    RetryDeadLetters,
    ScaleService,
    SteerSaga,
)
from colonnade.system.admin.passing_over import pass_over
from colonnade.system.admin.reports import Finished, Progress, ProjectionStatus, Report
from colonnade.workers.projections import Progress as Projected
from colonnade.workers.sagas.messages import SagaControl, control_message
from colonnade.world import World

__all__ = ["Administered", "Rebuildable", "perform"]

PAGE_ROWS = 200


_OfStore = RetryDeadLetters | DiscardDeadLetters | PassOverLost | ListProjections | RebuildProjection | SteerSaga


class Rebuildable(Protocol):
    """A projection: how far it is, and filling it anew."""

    async def progress(self) -> Projected:
        """How far it is."""

    def rebuild(self) -> AsyncGenerator[Projected, None]:
        """Fill it, telling how far it is."""


async def _nothing() -> None:
    """Nobody is there to be told."""


@dataclass(frozen=True)
class Administered:
    """One service as operations see it.

    `acted` is called after an operation, so that a worker that runs looks again. Without the system's code there are
    no `projections`.
    """

    store: Store
    projections: Mapping[str, Rebuildable] = field(default_factory=dict)
    acted: Callable[[], Awaitable[None]] = _nothing


async def perform(
    operation: Operation, services: Mapping[str, Administered], world: World
) -> AsyncGenerator[Report, None]:
    """Carry `operation` out, telling about it; raises `OperationFailed`."""
    if isinstance(operation, ScaleService | ReplaceInstances):
        raise OperationFailed("This system runs in one process; a fleet has instances: colonnade up SYSTEM --fleet.")
    service = services.get(operation.service)
    if service is None:
        raise OperationFailed(f"There is no service {operation.service}; there are {', '.join(sorted(services))}.")
    try:
        async with aclosing(_reports(operation, services, world)) as reports:
            async for report in reports:
                yield report
    finally:
        await service.acted()


def _reports(operation: _OfStore, services: Mapping[str, Administered], world: World) -> AsyncGenerator[Report, None]:
    service = services[operation.service]
    match operation:
        case RetryDeadLetters():
            return _retry(operation, service.store, world)
        case DiscardDeadLetters():
            return _act_on_rows([Discard(row) for row in operation.rows], service.store, world, "discarded")
        case PassOverLost():
            return pass_over(operation, {name: each.store for name, each in services.items()}, world)
        case SteerSaga():
            return _steer(operation, service.store, world)
        case ListProjections():
            return _list(operation, service)
        case RebuildProjection():
            return _rebuild(operation, service)


async def _retry(operation: RetryDeadLetters, store: Store, world: World) -> AsyncGenerator[Report, None]:
    if operation.rows:
        envelopes = await _edited(operation, store, world) if operation.data is not None else {}
        effects = [Unpark(row, envelopes.get(row)) for row in operation.rows]
        async for report in _act_on_rows(effects, store, world, "put back in line"):
            yield report
        return
    if operation.data is not None:
        raise OperationFailed("Data replaces that of one message; name its row.")
    after = changed = 0
    while page := await store.inbox.parked(after, PAGE_ROWS):
        after = page[-1].row
        chosen = [Unpark(message.row) for message in page if _fits(operation, message)]
        # One that was retried or discarded meanwhile by somebody else is none of the chosen any more
        changed += sum(result is None for result in await _commit_each(chosen, store, world))
        yield Progress(changed, changed)
    yield Finished(_told(changed, "put back in line"), changed)


def _fits(operation: RetryDeadLetters, message: ParkedMessage) -> bool:
    return operation.consumer in (None, message.consumer) and operation.key in (None, message.key)


async def _edited(operation: RetryDeadLetters, store: Store, world: World) -> dict[int, bytes]:
    if len(operation.rows) != 1:
        raise OperationFailed("Data replaces that of one message; name one row.")
    (row,) = operation.rows
    parked = await store.inbox.parked_message(row)
    if parked is None:
        raise OperationFailed(str(NotParked(row)))
    assert operation.data is not None
    envelope = Envelope.decode(parked.envelope)
    return {row: msgspec.structs.replace(envelope, data=operation.data).encode()}


async def _act_on_rows(
    effects: Sequence[Unpark | Discard], store: Store, world: World, done: str
) -> AsyncGenerator[Report, None]:
    results = await _commit_each(effects, store, world)
    if lost := [result for result in results if result is not None]:
        raise OperationFailed(" ".join(str(error) for error in lost))
    yield Finished(_told(len(results), done), len(results))


def _told(count: int, done: str) -> str:
    return f"{count} {'message' if count == 1 else 'messages'} {done}."


async def _commit_each(effects: Sequence[Effect], store: Store, world: World) -> Sequence[NotParked | None]:
    """Commit each effect by itself, together where the store can; where one came too late, its error."""

    async def commit(effect: Effect) -> NotParked | None:
        try:
            await store.commit(_unit(world, effect))
        except NotParked as error:
            return error
        return None

    return await asyncio.gather(*(commit(effect) for effect in effects))


async def _steer(operation: SteerSaga, store: Store, world: World) -> AsyncGenerator[Report, None]:
    stream = f"{operation.saga}/{operation.id}"
    if not await store.log.stream(stream, limit=1):
        raise OperationFailed(f"{operation.service} has no saga {stream}; see colonnade sagas list.")
    if (operation.action == "skip") != (operation.step is not None):
        raise OperationFailed("A step is named when it is to be skipped, and only then.")
    control = SagaControl(operation.action, operation.step)
    message = control_message(operation.saga, operation.id, control, operation.service, world)
    await store.commit(_unit(world, message))
    yield Finished(f"The saga {stream} is told to {operation.action}.", 1)


async def _list(operation: ListProjections, service: Administered) -> AsyncGenerator[Report, None]:
    name = operation.service
    if service.projections:
        progress = [await projection.progress() for projection in service.projections.values()]
        found = [
            ProjectionStatus(name, each.projection, each.position, each.end, True, each.stopped, each.held)
            for each in progress
        ]
    else:
        found = await _left_behind(name, service.store)
    yield Finished(f"{name} has {len(found)} projections.", 0, tuple(found))


async def _left_behind(service: str, store: Store) -> list[ProjectionStatus]:
    """How far projections are that nobody keeps up; of one that was never read, how far its next build is."""
    builds, end = Builds(store), await store.log.end()
    found = []
    for active, all_builds in await builds.all():
        build = next((build for build in all_builds if build.number == active), all_builds[-1])
        missing = await builds.missing(build)
        position = end if missing is None else missing - 1
        held = told_of_held(await builds.held(build))
        found.append(ProjectionStatus(service, build.projection, position, end, False, held=held))
    return found


async def _rebuild(operation: RebuildProjection, service: Administered) -> AsyncGenerator[Report, None]:
    projection = service.projections.get(operation.projection)
    if projection is None:
        known = ", ".join(sorted(service.projections)) or "none"
        raise OperationFailed(
            f"{operation.service} has no projection {operation.projection}; its projections are: {known}."
        )
    end = 0
    # Closed with the operation, so that what an abandoned rebuild holds is let go at once
    async with aclosing(projection.rebuild()) as steps:
        async for progress in steps:
            end = progress.end
            yield Progress(progress.position, progress.end)
    yield Finished(f"{operation.projection} is rebuilt up to event {end}.", end)


def _unit(world: World, effect: Effect) -> Unit:
    return Unit(world.clock.micros(), world.ids.new(), effects=[effect])

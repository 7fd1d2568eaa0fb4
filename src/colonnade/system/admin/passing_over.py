"""Passing over what is lost: only what its producer, asked once more, has no more."""

from collections.abc import AsyncGenerator, Mapping

from colonnade.persistence.failures import NotLost
from colonnade.persistence.store import Loss, Store
from colonnade.persistence.unit import PassOver, Unit
from colonnade.system.admin.operations import OperationFailed, PassOverLost
from colonnade.system.admin.reports import Finished, Report
from colonnade.workers.refetching import from_outbox
from colonnade.world import World, datetime_of

__all__ = ["pass_over"]


async def pass_over(operation: PassOverLost, stores: Mapping[str, Store], world: World) -> AsyncGenerator[Report, None]:
    """Pass over each of the rows, or over none where one of them is no hole; raises `OperationFailed`."""
    store = stores[operation.service]
    losses = [await _hole(operation.service, store, row) for row in operation.rows]
    for loss in losses:
        await _ask_producer(loss, stores.get(loss.chain.source))
    passed: list[str] = []
    for loss in losses:
        unit = Unit(world.clock.micros(), world.ids.new(), effects=[PassOver(loss.row, operation.by)])
        try:
            await store.commit(unit)
        except NotLost as error:
            raise OperationFailed(" ".join([*passed, str(error)])) from error
        done = await store.losses.one(loss.row)
        up_to = done.up_to if done is not None else loss.up_to
        passed.append(f"What {_chain(loss)} had after {loss.after}, up to {up_to}, is passed over by {operation.by}.")
    yield Finished(" ".join(passed), len(passed))


async def _hole(service: str, store: Store, row: int) -> Loss:
    loss = await store.losses.one(row)
    if loss is None:
        raise OperationFailed(f"{service} has noted nothing as lost in row {row}; see colonnade lost list.")
    if loss.passed_at is not None:
        moment = f"{datetime_of(loss.passed_at):%Y-%m-%d %H:%M:%S} UTC"
        raise OperationFailed(f"Row {row} of {service} was passed over by {loss.passed_by} at {moment}.")
    if not loss.is_open:
        raise OperationFailed(
            f"Row {row} of {service} is no hole any more: what {_chain(loss)} was missing after {loss.after} has come."
        )
    return loss


async def _ask_producer(loss: Loss, producer: Store | None) -> None:
    if producer is None:
        return  # it has left the system
    chain = loss.chain
    if chain.history in producer.ended:
        raise OperationFailed(
            f"{chain.source} has gone on in another history; its messages are held against that within half a minute, "
            "while the system runs."
        )
    kept = await from_outbox(producer, chain, loss.after, 1)
    if kept.messages and kept.messages[0].prev < loss.up_to:
        raise OperationFailed(
            f"{chain.source} still has what is missing on {chain.topic}/{chain.partition} after "
            f"{kept.messages[0].prev}; it is fetched from there while the system runs, and what remains is listed anew."
        )


def _chain(loss: Loss) -> str:
    return f"{loss.chain.source} on {loss.chain.topic}/{loss.chain.partition}"

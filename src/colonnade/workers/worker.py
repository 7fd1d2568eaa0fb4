"""The worker: takes the heads of a service's lines and hands each to its consumer."""

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from colonnade.messages.codec import NewerVersion
from colonnade.messages.envelope import Envelope
from colonnade.observability.correlation import Context, current_context
from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.store import AlreadyHandled, DueMessage, Store, StoreConflict, Touched
from colonnade.persistence.unit import Effect, Park, Retry, Unit
from colonnade.workers.backoff import ATTEMPTS, backoff_seconds
from colonnade.workers.consumers import Consumer, context_of
from colonnade.workers.waking import Waking
from colonnade.world import World

__all__ = ["IN_FLIGHT", "Worker"]

IN_FLIGHT = 64
"""How many messages of a service are handled at the same time."""

_NEWER_VERSION_WAIT_SECONDS = 30.0
_CONFLICT_WAIT_SECONDS = 0.05

_log = structlog.get_logger()


class UnknownConsumer(Exception):
    """A message waits for a saga or subscriber that this code does not have."""

    def __init__(self, consumer: str) -> None:
        super().__init__(consumer)
        self.consumer = consumer

    def __str__(self) -> str:
        return f"This service has no {self.consumer} any more; deploy it again, or discard the message."


class Worker:
    """Handles the messages of one service: lines beside each other, each line in its order.

    A message that fails waits longer every time, its line with it, and is parked after `attempts`. One of a newer
    version than the code knows is left alone. Conflicts with other processes never count.
    """

    def __init__(
        self, service: str, store: Store, consumers: Mapping[str, Consumer], world: World, attempts: int = ATTEMPTS
    ) -> None:
        self._service = service
        self._store = store
        self._consumers = consumers
        self._world = world
        self._attempts = attempts
        self._waking = Waking(Touched.INBOX, world.clock)
        store.watch(self._waking.touched)
        self._handling: dict[int, asyncio.Task[None]] = {}
        self._newer: dict[str, str] = {}
        self._parked = 0

    def health(self) -> Sequence[HealthState]:
        """Messages of unknown versions, and parked ones."""
        states = [
            HealthState(f"{self._service}.newer-version", Severity.DEGRADED, detail) for detail in self._newer.values()
        ]
        if self._parked:
            states.append(
                HealthState(
                    f"{self._service}.dead-letters",
                    Severity.DEGRADED,
                    f"{self._parked} messages are parked; see colonnade dead-letters list.",
                )
            )
        return states

    async def run(self) -> None:
        """Work until cancelled; what is being handled then is finished or left as it was."""
        await self._count_parked()
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._waking.clear()
                    now = self._world.clock.micros()
                    free = IN_FLIGHT - len(self._handling)
                    due = await self._store.inbox.due(now, IN_FLIGHT + len(self._handling)) if free else []
                    fresh = [message for message in due if message.row not in self._handling][:free]
                    for message in fresh:
                        task = tasks.create_task(self._handle(message))
                        self._handling[message.row] = task
                        task.add_done_callback(lambda _, row=message.row: self._done(row))  # type: ignore[misc]
                    later = await self._store.inbox.next_due_after(now) if free else None
                    await self._waking.wait(later)
        finally:
            self._handling.clear()

    async def look_again(self) -> None:
        """Count what is parked anew, after somebody retried or discarded."""
        await self._count_parked()
        self._waking.wake()

    def _done(self, row: int) -> None:
        self._handling.pop(row, None)
        self._waking.wake()

    async def _handle(self, message: DueMessage) -> None:
        context = Context(self._world.ids.new())
        try:
            envelope = Envelope.decode(message.envelope)
            context = context_of(envelope)
            consumer = self._consumers.get(message.consumer)
            if consumer is None:
                raise UnknownConsumer(message.consumer)
            current_context.set(context)
            await consumer.consume(message, envelope, context)
            self._newer.pop(envelope.type, None)
        except AlreadyHandled:
            return
        except StoreConflict:
            await self._wait(message, context, message.attempts, _CONFLICT_WAIT_SECONDS, "conflict")
        except NewerVersion as error:
            self._newer[error.name] = str(error)
            await self._wait(message, context, message.attempts, _NEWER_VERSION_WAIT_SECONDS, str(error))
        except Exception as error:
            await self._failed(message, context, error)

    async def _failed(self, message: DueMessage, context: Context, error: Exception) -> None:
        attempts = message.attempts + 1
        cause = f"{type(error).__name__}: {error}"
        fields = {
            "service": self._service, "consumer": message.consumer, "key": message.key, "attempt": attempts,
            "cause": cause,
        }  # fmt: skip
        if attempts < self._attempts:
            _log.warning("message failed", **fields)
            wait = backoff_seconds(attempts, self._world.randomness)
            await self._wait(message, context, attempts, wait, cause)
            return
        _log.error("message parked", **fields, exc_info=error)
        consumer = self._consumers.get(message.consumer)
        await self._commit(context, Park(message.row, attempts, cause, consumer is None or consumer.holds))
        self._parked += 1

    async def _wait(self, message: DueMessage, context: Context, attempts: int, seconds: float, cause: str) -> None:
        not_before = self._world.clock.micros() + int(seconds * 1_000_000)
        await self._commit(context, Retry(message.row, attempts, not_before, cause))

    async def _commit(self, context: Context, effect: Effect) -> None:
        unit = Unit(self._world.clock.micros(), context.correlation_id, context.causation_id, effects=[effect])
        try:
            await self._store.commit(unit)
        except AlreadyHandled:
            return

    async def _count_parked(self) -> None:
        self._parked = await self._store.inbox.parked_count()

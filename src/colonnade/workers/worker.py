"""The worker: takes the heads of a service's lines and hands each to its consumer."""

import asyncio
import sys
from collections.abc import Collection, Mapping, Sequence

from colonnade.messages.codec import MalformedMessage, NewerVersion
from colonnade.messages.envelope import Envelope, MalformedEnvelope
from colonnade.observability.correlation import Context, current_context
from colonnade.observability.foreground import Foreground
from colonnade.observability.health import HealthState, Severity
from colonnade.observability.logs import get_logger
from colonnade.persistence.failures import AlreadyHandled, StoreConflict, VersionConflict
from colonnade.persistence.moments import earliest
from colonnade.persistence.slots import SLOTS
from colonnade.persistence.store import DueMessage, Store, Touched
from colonnade.persistence.unit import Effect, Park, Retry, Unit
from colonnade.workers.at_once import AtOnce
from colonnade.workers.backoff import ATTEMPTS, Backoff, backoff_seconds
from colonnade.workers.consumers import NOBODY, Consumer, Nobody, NotYet, context_of
from colonnade.workers.places import AtWork, Places
from colonnade.workers.waking import Waking
from colonnade.world import World, micros_of

__all__ = ["Worker"]

STOP_SECONDS = 5.0
"""How long messages that are being handled may take to end when the worker is told to stop."""

LOOK_AROUND_SECONDS = 30.0
"""How often it is looked what is parked, and for whom messages wait that nobody takes."""

NEWER_VERSION_SECONDS = 30.0
"""How long a message is left in line that only newer code can read, before it is looked at again."""

_log = get_logger()


class Worker:
    """Handles the messages of one service: lines beside each other, each line in its order.

    A message that fails waits longer every time, its line with it, and is parked after `attempts`; one that cannot be
    read is parked at once. One of a newer version than the code knows, or for a consumer that it does not have, is
    left in line. Conflicts with other processes never count.
    """

    def __init__(
        self,
        service: str,
        store: Store,
        consumers: Mapping[str, Consumer],
        world: World,
        foreground: Foreground,
        attempts: int = ATTEMPTS,
        tenant: str | None = None,
        at_once: AtOnce | None = None,
    ) -> None:
        self._service = service
        self._store = store
        self._places = [Places(name, consumer, foreground) for name, consumer in consumers.items()]
        self._nobody = Places(NOBODY, Nobody(store, world), foreground)
        self._at_once = at_once
        self._world = world
        self._attempts = attempts
        self._tenant = tenant
        self._waking = Waking(Touched.INBOX, world.clock)
        store.watch(self._touched)
        self._next_retry: int | None = None
        self._conflicts: dict[int, Backoff] = {}
        self._failing: dict[int, str] = {}
        self._waiting: dict[int, str] = {}
        self._homeless: Sequence[str] = ()
        self._parked = 0
        self._look_around_at = 0.0
        self._slots: Collection[int] | None = None

    def work_on(self, slots: Collection[int] | None) -> Collection[asyncio.Task[None]]:
        """Take from now on only what is in lines of these slots, or of all; what is at work now may end."""
        # Who has all looks by turn, in one walk through the index instead of one for each slot
        self._slots = slots if slots is not None and len(slots) < SLOTS else None
        self._look_around_at = 0.0  # what waits in lines that are new here was not told of
        self._all_changed()
        return [work.task for places in self._places for work in places.at_work.values() if work.task is not None]

    @property
    def has_all_lines(self) -> bool:
        """Whether no other instance handles some of them."""
        return self._slots is None

    def health(self) -> Sequence[HealthState]:
        """What fails, is left in line or is parked."""
        details = {
            "waiting": [
                *dict.fromkeys(self._waiting.values()),
                *(f"Messages wait for {name}, which this code does not have." for name in self._homeless),
            ],
            "failing": [],
            "dead-letters": [],
        }
        if self._failing:
            count, latest = len(self._failing), list(self._failing.values())[-1]
            details["failing"] = [f"{count} of its messages failed and will be tried again, the last: {latest}"]
        if self._parked:
            details["dead-letters"] = [f"{self._parked} of its messages are parked; see colonnade dead-letters list."]
        return [
            HealthState(f"{self._service}.{name}", Severity.DEGRADED, " ".join(sentences))
            for name, sentences in details.items()
            if sentences
        ]

    def at_work_seconds(self, row: int) -> float | None:
        """For how long a message has been at work; None where it is not."""
        since = next((places.at_work[row].since for places in self._places if row in places.at_work), None)
        return self._world.clock.monotonic() - since if since is not None else None

    async def run(self) -> None:
        """Work until cancelled; what is being handled then may end, for a while, or is left as it was."""
        if self._at_once is None:
            return await self._run()
        joining = {each.name: each for each in self._places if each.consumer.joins}
        self._at_once.open(
            {name: each.consumer for name, each in joining.items()},
            lambda name: joining[name].done_at_once(self._world.clock),
        )
        try:
            await self._run()
        finally:
            await self._at_once.close()

    async def _run(self) -> None:
        for places in self._places:
            places.clear()  # a task that was cancelled before it began has not let go
        await self._look_around()
        async with asyncio.TaskGroup() as tasks:
            try:
                while True:
                    self._waking.clear()
                    for places in self._places:
                        await self._take(places, tasks)
                    await self._waking.wait(await self._until())
                    if self._world.clock.monotonic() >= self._look_around_at:
                        await self.look_again()
            except asyncio.CancelledError:
                await self._finish()
                raise

    async def look_again(self) -> None:
        """Count what is parked anew, after somebody retried or discarded."""
        await self._look_around()
        self._all_changed()

    def _touched(self, touched: Touched) -> None:
        if touched & Touched.INBOX:
            self._all_changed()

    def _all_changed(self) -> None:
        for places in self._places:
            places.changed = True
        self._waking.wake()

    async def _take(self, places: Places, tasks: asyncio.TaskGroup) -> None:
        for work in await places.take(self._store.inbox, self._world.clock, self._slots):
            work.task = tasks.create_task(self._work(places, work))

    async def _work(self, places: Places, work: AtWork) -> None:
        try:
            await self._handle(work.message, places.consumer)
        finally:
            places.done(work, self._world.clock)
            self._waking.wake()

    async def _until(self) -> int | None:
        now = self._world.clock.micros()
        if self._next_retry is not None and self._next_retry <= now:
            # It may have come while other messages kept the worker awake
            self._all_changed()
            self._next_retry = None
            self._retry_at(await self._store.inbox.next_due_after(now))
        until = self._next_retry
        for places in self._places:
            rest = places.rest(self._world.clock)
            if rest is not None and rest <= 0:
                places.changed = True
                self._waking.wake()
            elif rest is not None:
                until = min(now + int(rest * 1_000_000), until or sys.maxsize)
        return until

    def _retry_at(self, moment: int | None) -> None:
        self._next_retry = earliest(self._next_retry, moment)

    async def _finish(self) -> None:
        tasks = [work.task for places in self._places for work in places.at_work.values() if work.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)

    async def _handle(self, message: DueMessage, consumer: Consumer) -> None:
        row = message.row
        expires = None
        try:
            envelope = Envelope.decode(message.envelope)
        except MalformedEnvelope as error:
            # It will not read better the next time
            await self._park(message, Context(self._world.ids.new(), tenant=self._tenant), consumer, error)
            return
        context = context_of(envelope, self._tenant)
        try:
            if envelope.notafter is not None:
                expires = micros_of(envelope.notafter)
            current_context.set(context)
            await consumer.consume(message, envelope, context)
        except AlreadyHandled:
            self._forget(row)
        except NotYet as reason:
            if reason.told:
                self._waiting[row] = str(reason)
            await self._wait(message, context, message.attempts, reason.seconds, str(reason))
        except NewerVersion as error:
            self._waiting[row] = str(error)
            await self._wait(message, context, message.attempts, NEWER_VERSION_SECONDS, str(error))
        except MalformedMessage as error:
            await self._park(message, context, consumer, error)
        except Exception as error:
            if isinstance(error, StoreConflict) and not _is_for_ever(error):
                backoff = self._conflicts.setdefault(row, Backoff(self._world.randomness))
                await self._wait(message, context, message.attempts, backoff.next_seconds(), str(error))
            elif message.attempts + 1 < self._attempts:
                await self._try_later(message, context, error, expires)
            else:
                await self._park(message, context, consumer, error)
        else:
            self._forget(row)

    def _forget(self, row: int) -> None:
        self._conflicts.pop(row, None)
        self._failing.pop(row, None)
        self._waiting.pop(row, None)

    async def _try_later(self, message: DueMessage, context: Context, error: Exception, expires: int | None) -> None:
        attempts = message.attempts + 1
        _log.warning("message failed", **self._fields(message, attempts, error))
        seconds = backoff_seconds(attempts, self._world.randomness)
        if expires is not None:
            # What comes behind it, its undoing for instance, need not wait longer than until it is refused
            left = (expires - self._world.clock.micros()) / 1_000_000
            seconds = min(seconds, max(backoff_seconds(1, self._world.randomness), left))
        self._failing[message.row] = f"{message.consumer}, {message.key}: {_cause(error)}"
        await self._wait(message, context, attempts, seconds, _cause(error))

    async def _park(self, message: DueMessage, context: Context, consumer: Consumer, error: Exception) -> None:
        attempts = message.attempts + 1
        _log.error("message parked", **self._fields(message, attempts, error), exc_info=error)
        # In the other lanes messages do not depend on each other, and none may wait behind a parked one
        hold = consumer.holds and message.lane == ""
        if await self._commit(message.row, context, Park(message.row, attempts, _cause(error), hold)):
            self._forget(message.row)
            self._parked += 1

    def _fields(self, message: DueMessage, attempts: int, error: Exception) -> dict[str, object]:
        return {
            "service": self._service,
            "consumer": message.consumer,
            "key": message.key,
            "attempt": attempts,
            "cause": _cause(error),
        }

    async def _wait(self, message: DueMessage, context: Context, attempts: int, seconds: float, cause: str) -> None:
        not_before = self._world.clock.micros() + int(seconds * 1_000_000)
        await self._commit(message.row, context, Retry(message.row, attempts, not_before, cause))
        self._retry_at(not_before)

    async def _commit(self, row: int, context: Context, effect: Effect) -> bool:
        unit = Unit(self._world.clock.micros(), context.correlation_id, context.causation_id, effects=[effect])
        try:
            await self._store.commit(unit)
        except AlreadyHandled:
            self._forget(row)
            return False
        return True

    async def _look_around(self) -> None:
        self._look_around_at = self._world.clock.monotonic() + LOOK_AROUND_SECONDS
        inbox = self._store.inbox
        self._parked = await inbox.parked_count()
        known = {places.name for places in self._places}
        waiting = [name for name in await inbox.consumers() if name not in known]
        if NOBODY in waiting:
            self._places.append(self._nobody)
        self._homeless = [name for name in waiting if name != NOBODY]
        self._next_retry = await inbox.next_due_after(self._world.clock.micros())


def _is_for_ever(conflict: StoreConflict) -> bool:
    # The stream that the handler wants to begin is there, and will be the next time
    return isinstance(conflict, VersionConflict) and conflict.expected == 0


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

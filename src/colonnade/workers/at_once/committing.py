"""Commits the units of handlers together with those of the messages that they send, or that a broker brings."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextvars import copy_context
from itertools import count
from typing import TypeVar

from colonnade.messages.envelope import Envelope, MalformedEnvelope
from colonnade.observability.correlation import current_context
from colonnade.observability.foreground import Foreground
from colonnade.persistence.failures import LineBusy, MessageTooLarge, NotAtOnce, StoreConflict, WriteFailed
from colonnade.persistence.store import Committed, DueMessage, Store
from colonnade.persistence.unit import Deliver, Handled, Unit, at_once
from colonnade.persistence.work import work_before
from colonnade.workers.at_once.joint import Doing, Joint
from colonnade.workers.at_once.messages import (
    AtHand,
    is_of_message,
    leaves_nothing_to_look_for,
    may_be_joined,
    relieved,
    say_once,
)
from colonnade.workers.at_once.trying import Trying
from colonnade.workers.consumers import Consumer, context_of
from colonnade.workers.places import BESIDE_REQUESTS
from colonnade.world import World

__all__ = ["BUSY_LINES", "AtOnce"]

FEW = 32
"""More messages than these that come together are a backlog, whose messages are taken in and handled one by one."""

BUSY_LINES = 4
"""With more busy lines than this among its messages, each of which takes a commit to be found, a unit is committed
without any of them."""

_CONCERNED = frozenset({Handled, Deliver})

M = TypeVar("M")

UnitWith = Callable[[Collection[int]], Unit]
"""Makes the unit that brings messages, given the ids of the effects whose messages are done with it."""


class AtOnce:
    """Commits the units of a service's handlers, and with them those of messages to their service."""

    def __init__(
        self, store: Store, world: World, tenant: str | None = None, foreground: Foreground | None = None
    ) -> None:
        self._foreground = foreground or Foreground()
        self._store = store
        self._world = world
        self._tenant = tenant
        self._consumers: Mapping[str, Consumer] = {}
        self._joined: Callable[[str], None] = lambda consumer: None
        self._variables = copy_context()
        self._numbers = count(1)
        self._doing: dict[int, Doing] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._trying = Trying(world.clock)

    def open(self, consumers: Mapping[str, Consumer], joined: Callable[[str], None] = lambda consumer: None) -> None:
        """Do messages for these consumers at once from now on; `joined` is told for whom one was."""
        self._consumers = consumers
        self._joined = joined
        self._variables = copy_context()

    async def close(self) -> None:
        """Give up whatever has not been committed."""
        self._consumers = {}
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def commit(self, unit: Unit) -> Awaitable[Committed]:
        """Commit a unit as the store does; raises `NotAtOnce` for that of a message whose time is over."""
        # A look at the kinds, for most units have nothing to do with messages at once
        if _CONCERNED.isdisjoint(map(type, unit.effects)):
            return self._store.commit(unit)
        return self._commit(unit)

    async def _commit(self, unit: Unit) -> Committed:
        number = at_once(unit.effects)
        if number is None:
            # A request waits for no message
            messages = self._sent_by(unit) if is_of_message(unit) or not self._foreground.requests else ()
            if not messages:
                return await self._store.commit(unit)
            return await self.commit_with(messages, lambda done: relieved(unit, done))
        doing = self._doing.pop(number, None)
        if doing is None:
            raise NotAtOnce
        if not may_be_joined(unit):
            self._trying.may_not(doing.message)
            doing.joint.ended()
            raise NotAtOnce
        return await doing.joint.join(doing, unit, self._sent_by(unit))

    async def commit_with(
        self, messages: Sequence[AtHand], unit_with: UnitWith, handing_over: Callable[[], None] = lambda: None
    ) -> Committed:
        """Commit the unit that brings `messages`, together with those of theirs that are there in time.

        `handing_over` is called when the store is about to be handed it, if whoever comes next may be tried meanwhile.
        """
        joint = Joint(self._start)
        for message in messages:
            joint.begin(message)
        if not joint.begun:
            handing_over()
            return await self._store.commit(unit_with(()))
        begun = len(joint.begun)
        self._foreground.beside += begun
        try:
            for late in await joint.wait():
                self._trying.may_not(late.message)
            joined = joint.joined()
            for doing in joined:
                self._trying.may(doing.message)
                self._joined(doing.message.brought_by.consumer)
            if all(doing.may_be_followed for doing in joined):
                handing_over()
            return await self._committed(joint, unit_with)
        finally:
            self._foreground.beside -= begun
            joint.end()

    @property
    def has_room(self) -> bool:
        """Whether more may be done at once, which requests that are being answered leave little of."""
        return not self._foreground.requests or self._foreground.beside < BESIDE_REQUESTS

    def portions(self, messages: Sequence[M]) -> Iterator[Sequence[M]]:
        """What comes together, in parts that are done together: small ones while requests are being answered."""
        beside_requests = self._foreground.requests and len(messages) <= FEW
        step = BESIDE_REQUESTS if beside_requests else max(1, len(messages))
        for start in range(0, len(messages), step):
            yield messages[start : start + step]

    def _sent_by(self, unit: Unit) -> Sequence[AtHand]:
        """The messages to the service itself that could be done with `unit`."""
        consumers = self._consumers
        sent = [
            each for each in unit.effects if type(each) is Deliver and each.lane == "" and each.consumer in consumers
        ]
        if not sent or not may_be_joined(unit) or not leaves_nothing_to_look_for(unit):
            return ()
        try:
            return [AtHand(effect, Envelope.decode(effect.envelope)) for effect in sent]
        except MalformedEnvelope:  # the worker says so
            return ()

    def _start(self, doing: Doing) -> bool:
        consumer = self._consumers.get(doing.message.brought_by.consumer)
        if consumer is None or not self._trying.is_worth(doing.message):
            return False
        number = next(self._numbers)
        self._doing[number] = doing
        doing_it = self._do(consumer, number, doing)
        task = doing.task = doing.joint.loop.create_task(doing_it, context=self._variables.copy())
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._done(task, number, doing))
        return True

    async def _do(self, consumer: Consumer, number: int, doing: Doing) -> None:
        message = doing.message
        context = context_of(message.envelope, self._tenant)
        current_context.set(context)
        if doing.behind is not None:
            work_before.set(doing.behind.work)
        name, key = message.line
        now = self._world.clock.micros()
        due = DueMessage(-number, name, "", key, message.brought_by.envelope, 0, now, now)
        await consumer.consume(due, message.envelope, context)

    def _done(self, task: asyncio.Task[None], number: int, doing: Doing) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the worker meets what is wrong with the message again, counts it, and tells of it
        doing.task = None  # whose exception holds the frames that hold this
        if self._doing.pop(number, None) is not None:
            doing.joint.ended()

    async def _committed(self, joint: Joint, unit_with: UnitWith) -> Committed:
        busy_lines = 0
        while True:
            joined = joint.joined()
            done = {id(doing.message.brought_by) for doing in joined}
            unit = unit_with(done)
            unit.followers = [relieved(doing.unit, done, itself=True) for doing in joined if doing.unit is not None]
            if any(doing.behind is not None for doing in joined):
                say_once((unit, *unit.followers))
            try:
                committed = await self._store.commit(unit)
            except asyncio.CancelledError:
                # Whether it is committed shows later: their handlers keep their streams until then, as the caller does
                for doing in joined:
                    doing.outcome.cancel()
                raise
            except LineBusy as busy:
                busy_lines += 1
                line = (busy.consumer, busy.key)
                self._trying.is_busy(line)
                in_line = [doing for doing in joined if doing.message.line == line]
                joint.dismiss(in_line if in_line and busy_lines <= BUSY_LINES else joined)
            except (StoreConflict, WriteFailed, MessageTooLarge):
                if not joined:
                    raise
                joint.dismiss(joined)  # which of them it was, if any, shows when each is committed by itself
            else:
                for doing in joined:
                    if not doing.outcome.done():
                        doing.outcome.set_result(committed)
                return committed

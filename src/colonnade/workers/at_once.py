"""Messages that are done at once: in the commit that sends or receives them, when nothing waits before them.

What a unit sends to its own service, and what a broker brings, is as a rule done within milliseconds. Then it need not
be written into the inbox, looked for, and deleted again: its unit of work joins the one that brings it. Whatever is in
the way of that, the message goes into the inbox as ever, and the worker sees to it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from colonnade.messages.envelope import Envelope, MalformedEnvelope
from colonnade.observability.correlation import current_context
from colonnade.observability.foreground import Foreground
from colonnade.persistence.failures import LineBusy, MessageTooLarge, NotAtOnce, StoreConflict, WriteFailed
from colonnade.persistence.store import Committed, DueMessage, Store
from colonnade.persistence.unit import (
    ArmTimer,
    Defer,
    Deliver,
    DisarmTimer,
    Effect,
    Handled,
    HandledAtOnce,
    Incoming,
    Settle,
    Unit,
    Write,
    WriteMany,
    at_once,
)
from colonnade.persistence.work import Work, current_work, work_before
from colonnade.workers.consumers import Consumer, context_of
from colonnade.workers.places import BESIDE_REQUESTS
from colonnade.world import World

__all__ = ["AtHand", "AtOnce"]

JOINING_SECONDS = 0.05
"""How long a commit waits for the units that are to join it."""

REST_SECONDS = 0.1
"""For how long messages of a kind go the other way after one that did not join in time, or could not; for twice as long
each time in a row."""

LONGEST_REST_SECONDS = 60.0

BUSY_SECONDS = 1.0
"""For how long a line in which something waited is taken to be so still."""

REMEMBERED = 1_000
"""Of how many lines it is remembered that they are busy."""

FEW = 32
"""More messages than these that come together are a backlog, whose messages are taken in and handled one by one."""

BUSY_LINES = 4
"""With more busy lines than this among its messages, each of which takes a commit to be found, a unit is committed
without any of them."""

JOINED = 64
"""The most messages in one commit: what follows from what follows has an end."""


@dataclass(frozen=True, slots=True, eq=False)
class AtHand:
    """A message that could be done at once, and the effect that else brings it into the inbox."""

    brought_by: Deliver | Incoming
    envelope: Envelope

    @property
    def line(self) -> tuple[str, str]:
        """Its consumer and its key."""
        return self.brought_by.consumer, self.brought_by.key

    @property
    def kind(self) -> tuple[str, str]:
        """Its consumer and its stored name."""
        return self.brought_by.consumer, self.envelope.type


_CONCERNED = frozenset({Handled, Deliver})
_SQL = frozenset({Write, WriteMany})

_LOOKED_FOR = frozenset({Defer, Settle})
"""What a unit changes that a handler reads in the store, where it must be first: whoever settles for one."""

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
        self._doing: dict[int, _Doing] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # The monotonic second from which on a kind, or a line, may be tried again
        self._resting: dict[tuple[str, str], float] = {}
        self._busy: dict[tuple[str, str], float] = {}
        self._rest_seconds: dict[tuple[str, str], float] = {}

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
            messages = self.sent_by(unit) if _is_of_message(unit) or not self._foreground.requests else ()
            if not messages:
                return await self._store.commit(unit)
            return await self.commit_with(messages, lambda done: _relieved(unit, done))
        doing = self._doing.pop(number, None)
        if doing is None:
            raise NotAtOnce
        return await doing.joint.join(doing, unit)

    async def commit_with(self, messages: Sequence[AtHand], unit_with: UnitWith) -> Committed:
        """Commit the unit that brings `messages`, together with those of theirs that are there in time."""
        joint = _Joint(self)
        for message in messages:
            joint.begin(message, None)
        if not joint.begun:
            return await self._store.commit(unit_with(()))
        begun = len(joint.begun)
        self._foreground.beside += begun
        try:
            await joint.wait()
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

    def sent_by(self, unit: Unit) -> list[AtHand]:
        """The messages to the service itself that could be done with `unit`."""
        consumers = self._consumers
        sent = [
            each for each in unit.effects if type(each) is Deliver and each.lane == "" and each.consumer in consumers
        ]
        if not sent or not _may_be_joined(unit) or not _LOOKED_FOR.isdisjoint(map(type, unit.effects)):
            return []
        try:
            return [AtHand(effect, Envelope.decode(effect.envelope)) for effect in sent]
        except MalformedEnvelope:  # the worker says so
            return []

    def begin(self, doing: "_Doing") -> bool:
        """Begin to do a message, if that may be tried."""
        message, now = doing.message, self._world.clock.monotonic()
        consumer = self._consumers.get(message.brought_by.consumer)
        if consumer is None or self._resting.get(message.kind, now) > now or self._busy.get(message.line, now) > now:
            return False
        number = next(self._numbers)
        self._doing[number] = doing
        loop = asyncio.get_running_loop()
        task = doing.task = loop.create_task(self._do(consumer, number, doing), context=self._variables.copy())
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._done(task, number, doing))
        return True

    def may_not(self, message: AtHand) -> None:
        """It did not join in time, or could not: let its kind rest."""
        kind, now = message.kind, self._world.clock.monotonic()
        if self._resting.get(kind, now) <= now:  # those that began together count once
            seconds = self._rest_seconds[kind] = min(
                LONGEST_REST_SECONDS, 2 * self._rest_seconds.get(kind, REST_SECONDS / 2)
            )
            self._resting[kind] = now + seconds

    def may(self, message: AtHand) -> None:
        """It joined in time; that says little while others of its kind did not."""
        now = self._world.clock.monotonic()
        if self._resting.get(message.kind, now) <= now:
            self._rest_seconds.pop(message.kind, None)
        self._joined(message.brought_by.consumer)

    def _is_busy(self, line: tuple[str, str]) -> None:
        if len(self._busy) >= REMEMBERED:
            self._busy.clear()
        self._busy[line] = self._world.clock.monotonic() + BUSY_SECONDS

    async def _do(self, consumer: Consumer, number: int, doing: "_Doing") -> None:
        message = doing.message
        context = context_of(message.envelope, self._tenant)
        current_context.set(context)
        if doing.behind is not None:
            work_before.set(doing.behind.work)
        name, key = message.line
        now = self._world.clock.micros()
        due = DueMessage(-number, name, "", key, message.brought_by.envelope, 0, now, now)
        await consumer.consume(due, message.envelope, context)

    def _done(self, task: asyncio.Task[None], number: int, doing: "_Doing") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the worker meets what is wrong with the message again, counts it, and tells of it
        if self._doing.pop(number, None) is not None:
            doing.joint.ended()

    async def _committed(self, joint: "_Joint", unit_with: UnitWith) -> Committed:
        busy_lines = 0
        while True:
            joined = joint.joined()
            done = {id(doing.message.brought_by) for doing in joined}
            unit = unit_with(done)
            unit.followers = [_relieved(doing.unit, done, itself=True) for doing in joined if doing.unit is not None]
            if any(doing.behind is not None for doing in joined):
                _say_once((unit, *unit.followers))
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
                self._is_busy(line)
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


@dataclass(slots=True, eq=False)
class _Doing:
    """A message that is being done; `after` is the one whose unit sends it, `behind` the one before it in its line."""

    message: AtHand
    joint: "_Joint"
    after: "_Doing | None"
    behind: "_Doing | None"
    outcome: asyncio.Future[Committed]
    task: asyncio.Task[None] | None = None
    unit: Unit | None = None
    work: Work | None = None

    @property
    def may_be_followed(self) -> bool:
        """Whether the next in its line may be done with it: what that would read in the store must be there."""
        return self.unit is not None and _LOOKED_FOR.isdisjoint(map(type, self.unit.effects))


class _Joint:
    """The messages whose units join one commit."""

    def __init__(self, at_once: AtOnce) -> None:
        self.begun: list[_Doing] = []
        self._at_once = at_once
        self._lines: dict[tuple[str, str], _Doing | None] = {}
        """The last in each line; None where one goes into the inbox, behind which nobody may come."""
        self._missing = 0
        self._complete: asyncio.Future[bool] | None = None
        self._closed = False

    def begin(self, message: AtHand, after: _Doing | None) -> None:
        """Begin to do a message, unless there is another in its line that has not joined: that goes first."""
        line = message.line
        is_first = line not in self._lines
        behind = self._lines.get(line)
        self._lines[line] = None
        if len(self.begun) >= JOINED or not (is_first or (behind is not None and behind.may_be_followed)):
            return
        doing = _Doing(message, self, after, behind, asyncio.get_running_loop().create_future())
        if self._at_once.begin(doing):
            self._lines[line] = doing
            self.begun.append(doing)
            self._missing += 1

    async def join(self, doing: _Doing, unit: Unit) -> Committed:
        """Let the unit of a message join; returns when it is committed, or raises `NotAtOnce`."""
        if self._closed:
            raise NotAtOnce
        if not _may_be_joined(unit):
            self._at_once.may_not(doing.message)
            self.ended()
            raise NotAtOnce
        doing.unit, doing.work = unit, current_work.get()
        for message in self._at_once.sent_by(unit):
            self.begin(message, doing)
        self.ended()
        return await doing.outcome

    def ended(self) -> None:
        """One that was missing has joined, or never will."""
        self._missing -= 1
        if not self._missing:
            self._settle(complete=True)

    async def wait(self) -> None:
        """Return when nobody is missing, or it has taken too long; nobody joins from then on."""
        loop = asyncio.get_running_loop()
        self._complete = loop.create_future()
        # A future and a timer: a timeout around an event costs several times as much, for every commit
        too_long = loop.call_later(JOINING_SECONDS, self._settle)
        try:
            if self._missing and not await self._complete:
                for doing in self._give_up():
                    self._at_once.may_not(doing.message)
        except asyncio.CancelledError:
            self._give_up()
            raise
        finally:
            too_long.cancel()
            self._closed = True
        for doing in self.joined():
            self._at_once.may(doing.message)

    def _settle(self, *, complete: bool = False) -> None:
        if self._complete is not None and not self._complete.done():
            self._complete.set_result(complete)

    def _give_up(self) -> list[_Doing]:
        late = [each for each in self.begun if each.unit is None and each.task is not None and not each.task.done()]
        for doing in late:
            if doing.task is not None:
                doing.task.cancel()
        return late

    def joined(self) -> list[_Doing]:
        """Those whose units are to be committed."""
        return [doing for doing in self.begun if doing.unit is not None]

    def dismiss(self, some: Collection[_Doing]) -> None:
        """Commit these without their messages, and without what follows from them."""
        gone = {*some}
        for doing in self.begun:  # whoever follows began later
            if doing in gone or doing.after in gone or doing.behind in gone:
                gone.add(doing)
                doing.unit = None
                if not doing.outcome.done():
                    doing.outcome.set_exception(NotAtOnce())
                    doing.outcome.exception()

    def end(self) -> None:
        """Commit whoever has not been by itself, and let go of all: in a circle they would wait for the collector."""
        self.dismiss(self.begun)
        self.begun, self._lines = [], {}


def _say_once(units: Sequence[Unit]) -> None:
    """Leave of what is said of one timer only the last word, and look at a line once: more take their turns."""
    said: set[tuple[str, ...]] = set()
    for unit in reversed(units):
        kept: list[Effect] = []
        for effect in reversed(unit.effects):
            if isinstance(effect, HandledAtOnce):
                of: tuple[str, ...] = (effect.consumer, effect.key)
            elif isinstance(effect, ArmTimer) or (isinstance(effect, DisarmTimer) and effect.due is None):
                of = (effect.name,)
            else:
                kept.append(effect)
                continue
            if of not in said:
                said.add(of)
                kept.append(effect)
        unit.effects = kept[::-1]


def _is_of_message(unit: Unit) -> bool:
    return bool(unit.effects) and type(unit.effects[0]) is Handled


def _may_be_joined(unit: Unit) -> bool:
    """Whether `unit` may be committed with others: one with SQL takes long, and a fence is for what it fences."""
    return unit.fence is None and _SQL.isdisjoint(map(type, unit.effects))


def _relieved(unit: Unit, done: Collection[int], *, itself: bool = False) -> Unit:
    """`unit` without what brings messages that are done, and without its own mark where it is done at once `itself`."""
    effects: list[Effect] = [
        HandledAtOnce(effect.consumer, effect.key) if type(effect) is Deliver and id(effect) in done else effect
        for effect in (unit.effects[1:] if itself else unit.effects)
    ]
    return Unit(unit.time, unit.correlation_id, unit.causation_id, unit.principal, effects, unit.fence)

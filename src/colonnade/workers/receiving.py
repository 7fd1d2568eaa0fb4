"""The inbox's door: what comes from the broker is written down once, whatever the broker doubles or reorders."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from colonnade.brokers.broker import Carried
from colonnade.messages.envelope import Envelope, MalformedEnvelope
from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.addresses import HANDLERS, commands_of, replies_of
from colonnade.persistence.store import MarkMoved, Store
from colonnade.persistence.unit import ChainId, Effect, Incoming, KeepAside, Receive, Unit
from colonnade.world import World

__all__ = ["BACKLOG_LIMIT", "Inbox", "MendHole"]

BACKLOG_LIMIT = 50_000
"""With more unhandled messages than this a service takes no more in, until half of them are done."""

HOLE_SECONDS = 10.0
"""For how long a message may be missing before it is fetched from its producer, and told as a health state."""

_LOOK_EVERY_SECONDS = 0.5
_COUNT_EVERY_MESSAGES = 1_000

MendHole = Callable[[ChainId, int], Awaitable[Sequence[Carried]]]
"""Fetches from the producer of a chain what comes after a seq."""


@dataclass(slots=True)
class _ChainState:
    received: int
    early: dict[int, int] = field(default_factory=dict)
    """The seq that each early message follows, by prev."""
    hole_since: float | None = None


class Inbox:
    """Takes messages over for one service.

    `interested` names the consumers of each event's stored name. A message is ready once all before it in its chain
    have come; what has come before is known by the chain's mark for ever.
    """

    def __init__(
        self,
        service: str,
        store: Store,
        world: World,
        interested: Mapping[str, Sequence[str]],
        mend: MendHole,
        backlog_limit: int = BACKLOG_LIMIT,
    ) -> None:
        self._service = service
        self._store = store
        self._world = world
        self._interested = interested
        self._mend = mend
        self._backlog_limit = backlog_limit
        self._chains: dict[ChainId, _ChainState] | None = None
        self._turn = asyncio.Lock()
        self._uncounted = 0
        self._full = False

    def health(self) -> Sequence[HealthState]:
        """Holes in chains, and a backlog that keeps messages out."""
        states = []
        now = self._world.clock.monotonic()
        for chain, state in (self._chains or {}).items():
            if state.hole_since is not None and now - state.hole_since >= HOLE_SECONDS:
                states.append(
                    HealthState(
                        f"{self._service}.hole",
                        Severity.DEGRADED,
                        f"A message from {chain.source} on {chain.topic}/{chain.partition} after {state.received} "
                        f"has been missing for {now - state.hole_since:.0f} s; it is fetched from its producer.",
                    )
                )
        if self._full:
            states.append(
                HealthState(
                    f"{self._service}.backlog",
                    Severity.DEGRADED,
                    f"More than {self._backlog_limit} messages wait to be handled; none are taken in until half are.",
                )
            )
        return states

    async def receive(self, messages: Sequence[Carried]) -> None:
        """Write `messages` down; when it returns they are durable."""
        await self._wait_for_room(len(messages))
        async with self._turn:
            try:
                await self._take_over(messages)
            except MarkMoved:
                self._chains = None
                await self._take_over(messages)

    async def mend_holes(self) -> None:
        """Fetch what has been missing for too long; to be called now and then."""
        now = self._world.clock.monotonic()
        for chain, state in list((self._chains or {}).items()):
            if state.hole_since is not None and now - state.hole_since >= HOLE_SECONDS:
                await self.receive(await self._mend(chain, state.received))

    async def _wait_for_room(self, count: int) -> None:
        self._uncounted += count
        if self._uncounted < _COUNT_EVERY_MESSAGES:
            return
        self._uncounted = 0
        if await self._store.inbox.unhandled() <= self._backlog_limit:
            return
        self._full = True
        while await self._store.inbox.unhandled() > self._backlog_limit // 2:
            await self._world.sleep(_LOOK_EVERY_SECONDS)
        self._full = False

    async def _take_over(self, messages: Sequence[Carried]) -> None:
        chains = await self._states()
        effects: list[Effect] = []
        by_chain: dict[ChainId, list[Carried]] = {}
        for message in messages:
            chain = ChainId(message.source, message.history, message.topic, message.partition)
            by_chain.setdefault(chain, []).append(message)
        after: dict[ChainId, _ChainState] = {}
        for chain, carried in by_chain.items():
            state = chains.get(chain) or _ChainState(0)
            moved = _ChainState(state.received, dict(state.early), state.hole_since)
            receive = self._sorted_in(chain, carried, moved, effects)
            if receive is not None:
                effects.append(receive)
                after[chain] = moved
        if effects:
            unit = Unit(self._world.clock.micros(), self._world.ids.new(), effects=effects)
            await self._store.commit(unit)
            chains.update(after)

    def _sorted_in(
        self, chain: ChainId, carried: Sequence[Carried], state: _ChainState, effects: list[Effect]
    ) -> Receive | None:
        expected = state.received
        rows: list[Incoming] = []
        completed: list[int] = []
        changed = False
        for message in carried:
            if message.seq <= state.received or message.seq in state.early.values():
                continue
            changed = True
            ready = message.prev <= state.received
            rows.extend(self._rows(message, ready, effects))
            if not ready:
                state.early[message.prev] = message.seq
                continue
            state.received = message.seq
            while (follower := state.early.pop(state.received, None)) is not None:
                completed.append(follower)
                state.received = follower
        if not changed:
            return None
        state.hole_since = (state.hole_since or self._world.clock.monotonic()) if state.early else None
        return Receive(chain, expected, state.received, rows, completed)

    def _rows(self, message: Carried, ready: bool, effects: list[Effect]) -> list[Incoming]:
        try:
            envelope = Envelope.decode(message.envelope)
            consumers = self._consumers(message, envelope)
        except (MalformedEnvelope, ValueError) as error:
            origin = f"{message.source}/{message.topic}/{message.partition}/{message.seq}"
            effects.append(KeepAside(origin, str(error), message.envelope))
            consumers = []
        # An early message that nobody here wants is kept all the same: its place in the chain must be known
        if not consumers and not ready:
            consumers = [(PLACEHOLDER, "")]
        return [
            Incoming(message.seq, message.prev, consumer, key, message.envelope, ready) for consumer, key in consumers
        ]

    def _consumers(self, message: Carried, envelope: Envelope) -> list[tuple[str, str]]:
        if message.topic == commands_of(self._service):
            return [(HANDLERS, message.key)]
        if message.topic == replies_of(self._service):
            if envelope.replykey is None:
                raise ValueError("a reply without replykey")
            consumer, key, _ = envelope.replykey.split("|", 2)
            return [(consumer, key)]
        return [(consumer, message.key) for consumer in self._interested.get(envelope.type, ())]

    async def _states(self) -> dict[ChainId, _ChainState]:
        if self._chains is None:
            states = {}
            for chain in await self._store.inbox.chains():
                early = {prev: seq for seq, prev in await self._store.inbox.early(chain.id)}
                since = self._world.clock.monotonic() if early else None
                states[chain.id] = _ChainState(chain.received, early, since)
            self._chains = states
        return self._chains


PLACEHOLDER = "nobody"
"""The consumer of messages that are kept only for their place in the chain."""

"""The inbox's door: what comes from the broker is written down once, whatever the broker doubles or reorders."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

from msgspec.structs import replace

from colonnade.brokers.broker import Carried, Unreadable
from colonnade.messages.envelope import Envelope, MalformedEnvelope
from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.addresses import HANDLERS, commands_of, replies_of
from colonnade.persistence.failures import MarkMoved
from colonnade.persistence.reply_keys import ReplyKey
from colonnade.persistence.store import Chain, Store
from colonnade.persistence.unit import ChainId, Effect, Incoming, KeepAside, Receive, Unit
from colonnade.workers.at_once import AtHand, AtOnce
from colonnade.workers.chain_ends import AskEnds, ChainEnds
from colonnade.workers.consumers import NOBODY
from colonnade.workers.losses import Losses
from colonnade.workers.places import FRESH_MICROSECONDS
from colonnade.workers.refetching import Obstacle, Refetched
from colonnade.workers.rewinding import Rewinding
from colonnade.workers.succession import AskHistories, Succession
from colonnade.world import World, micros_of

__all__ = ["BACKLOG_LIMIT", "HOLE_SECONDS", "Inbox", "OtherTenants", "Refetch"]

BACKLOG_LIMIT = 50_000
"""With more unhandled messages than this a service takes no more in, until half of them are done."""

ROOM_SHARE = 8
"""Of the room that is left, this part may be filled before it is counted again what waits, which takes the longer the
more there is: a message may be for several consumers, and other instances take some in too."""

FLOWS_A_TOPIC = 2
"""How many batches of a topic are received beside each other, each of other partitions."""

HOLE_SECONDS = 10.0
"""For how long a message may be missing before it is fetched from its producer, and told as a health state."""

_LOOK_EVERY_SECONDS = 0.5

Refetch = Callable[[ChainId, int], Awaitable[Refetched]]
"""Fetches from the producer of a chain what comes after a seq."""

_FETCHED = {
    None: "it is fetched from its producer",
    Obstacle.AWAY: "its producer cannot be asked; it is asked again and again",
}
_NEVER = {
    Obstacle.PRUNED: "its producer has deleted it",
    Obstacle.OTHER_HISTORY: "its producer's store is another one by now, restored or made anew",
}

_Flow = tuple[str, UUID, str, int]


class OtherTenants(ValueError):
    """A message of one tenant came to another's inbox."""

    def __init__(self, theirs: str | None, ours: str | None) -> None:
        super().__init__(theirs, ours)
        self.theirs, self.ours = theirs, ours

    def __str__(self) -> str:
        return f"It is a message of {self.theirs or 'no tenant'}, and came to the inbox of {self.ours or 'no tenant'}."


@dataclass(slots=True)
class _ChainState:
    received: int
    early: dict[int, int] = field(default_factory=dict)
    """The seq that each early message follows, by prev."""
    early_seqs: set[int] = field(default_factory=set)
    hole_since: float | None = None

    def copy(self) -> "_ChainState":
        return _ChainState(self.received, dict(self.early), set(self.early_seqs), self.hole_since)


@dataclass(slots=True)
class _FlowState:
    """What is remembered of the chains of one flow; None when it has to be read. It changes under `turn` only."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    chains: dict[ChainId, _ChainState] | None = None


class Inbox:
    """Takes messages over for one service.

    `interested` names the consumers of each event's stored name. A message is ready once all before it in its chain
    have come; what has come before is known by the chain's mark for ever. A chain that is met for the first time
    begins with the first message that its producer still has. What is missing shows by what comes after it, or by how
    far its producer says that it has published. `histories` asks a producer whose database may have been promoted or
    restored which history it is in; None where none has another. Fresh messages are done `at_once` where that is given
    and `all_lines` of the service are this instance's: else others have their part to do.
    """

    def __init__(
        self,
        service: str,
        store: Store,
        world: World,
        interested: Mapping[str, Sequence[str]],
        refetch: Refetch,
        ask_ends: AskEnds,
        backlog_limit: int = BACKLOG_LIMIT,
        tenant: str | None = None,
        histories: AskHistories | None = None,
        at_once: AtOnce | None = None,
        all_lines: Callable[[], bool] = lambda: True,
    ) -> None:
        self._service = service
        self._store = store
        self._at_once = at_once
        self._all_lines = all_lines
        self._world = world
        self._interested = interested
        self._refetch = refetch
        self._ends = ChainEnds(ask_ends, world.clock)
        self._backlog_limit = backlog_limit
        self._tenant = tenant
        self._flows: dict[_Flow, _FlowState] = {}
        self._full = False
        self._succession = (
            Succession(service, store, world, histories, self._forget_chains) if histories is not None else None
        )
        self._losses = Losses(service, store, world)
        self._rewinding = Rewinding(service, refetch)
        self._room = self._uncounted = 0
        """So many messages may come before it is counted again what waits, and so many have come since it was."""
        # What the producer of a chain said when it was asked for what comes after a seq
        self._obstacles: dict[ChainId, tuple[int, Obstacle | None]] = {}

    def health(self) -> Sequence[HealthState]:
        """Holes in chains, and a backlog that keeps messages out."""
        states = []
        now = self._world.clock.monotonic()
        for chain, received, since in self._holes():
            states.append(self._hole(chain, received, now - since))
        if self._full:
            states.append(
                HealthState(
                    f"{self._service}.backlog",
                    Severity.DEGRADED,
                    f"More than {self._backlog_limit} messages wait to be handled; none are taken in until half are.",
                )
            )
        if self._succession is not None:
            states += self._succession.health()
        return [*states, *self._losses.health(), *self._rewinding.health()]

    async def receive(self, messages: Sequence[Carried | Unreadable]) -> None:
        """Write `messages` down; when it returns they are durable. It waits while there is a backlog.

        What is no message is kept aside.
        """
        unreadable = [each for each in messages if isinstance(each, Unreadable)]
        if unreadable:
            kept = [KeepAside(each.origin, each.reason, each.data) for each in unreadable]
            await self._store.commit(Unit(self._world.clock.micros(), self._world.ids.new(), effects=[*kept]))
            messages = [each for each in messages if isinstance(each, Carried)]
        await self._receive(cast(Sequence[Carried], messages))

    async def _receive(self, messages: Sequence[Carried]) -> None:
        if self._full or self._uncounted + len(messages) > self._room:
            await self._wait_for_room()
        self._uncounted += len(messages)
        try:
            await self._take_over(await self._sorted_out(messages))
        except MarkMoved:
            # What is remembered of the chains was old: it has been forgotten
            if self._succession is not None:
                self._succession.forget()
            await self._take_over(await self._sorted_out(messages))

    async def _sorted_out(self, messages: Sequence[Carried]) -> Sequence[Carried]:
        return messages if self._succession is None else await self._succession.sorted_out(messages)

    async def tend(self) -> None:
        """Fetch what has been missing for too long, and see whether there is room again; to be called now and then."""
        if self._succession is not None:
            await self._succession.look_after()
        chains = await self._store.inbox.chains()
        for known in chains:
            await self._learn(known)
        await self._close_up()
        if self._full:
            self._ends.forget()  # what waits at the broker, because nothing is taken in, is not missing
        else:
            marks = {known.id: known.received for known in chains}
            await self._ends.look(marks)
            for chain in self._ends.short():
                await self._rewinding.ask(chain, marks[chain])
        for chain, received, since in self._holes():
            await self._fill(chain, received, since)
        if self._full:
            await self._look_for_room()

    def forget(self) -> None:
        """Remember nothing of the chains: others have received for this service meanwhile."""
        if self._succession is not None:
            self._succession.forget()
        self._forget_chains()

    def _forget_chains(self) -> None:
        for flow in self._flows.values():
            flow.chains = None

    async def _learn(self, known: Chain) -> None:
        key = _flow_of(known.id)
        flow = self._flow(key)
        async with flow.turn:
            state = (flow.chains or {}).get(known.id)
            if state is None or state.received < known.received:  # another instance has received
                flow.chains = None
                await self._chains_of(flow, key)

    async def _close_up(self) -> None:
        """Make ready what one instance received early while another one received what goes before it."""
        behind = [
            chain
            for flow in self._flows.values()
            for chain, state in (flow.chains or {}).items()
            if state.received in state.early
        ]
        if behind:
            with suppress(MarkMoved):  # somebody else does it
                await self._take_over((), behind)

    async def _fill(self, chain: ChainId, received: int, since: float) -> None:
        while True:
            refetched = await self._refetch(chain, received)
            missing = refetched.messages
            if not received and missing:
                # What it sent before the first that it still has nobody here has waited for
                refetched = Refetched([replace(missing[0], prev=0), *missing[1:]])
                missing = refetched.messages
            self._obstacles[chain] = received, refetched.obstacle
            if refetched.obstacle in _NEVER:
                await self._note_loss(chain, received, refetched, since)
            if not missing or not missing[0].prev <= received < missing[-1].seq:
                return
            # A backlog is no reason to wait: it may be the very messages behind the hole
            await self._take_over(await self._sorted_out(missing))
            state = self._state(chain)
            if state is None or not (state.early or self._ends.lies_beyond(chain, state.received)):
                return
            received = state.received

    async def _note_loss(self, chain: ChainId, received: int, refetched: Refetched, since: float) -> None:
        state = self._state(chain)
        ends = [] if refetched.pruned is None else [refetched.pruned]
        if state is not None and state.early:
            ends.append(min(state.early))
        if ends and refetched.obstacle is not None:
            seconds = self._world.clock.monotonic() - since
            await self._losses.note(chain, received, min(ends), _NEVER[refetched.obstacle], seconds)

    def _hole(self, chain: ChainId, received: int, seconds: float) -> HealthState:
        missing = (
            f"A message from {chain.source} on {chain.topic}/{chain.partition} after {received} "
            f"has been missing for {seconds:.0f} s"
        )
        asked_after, obstacle = self._obstacles.get(chain, (received, None))
        if obstacle not in _NEVER or asked_after != received:
            fetched = f"{missing}; {_FETCHED.get(obstacle, _FETCHED[None])}."
            return HealthState(f"{self._service}.hole", Severity.DEGRADED, fetched)
        state = self._state(chain)
        waiting = len(state.early_seqs) if state is not None else 0
        lost = (
            f"{missing} and will not come: {_NEVER[obstacle]}. {waiting} messages wait behind it; take it from a "
            "backup of its producer, or pass over it (colonnade lost list, colonnade lost pass-over "
            f"{self._service} ROW), and let producers keep what has left for longer."
        )
        return HealthState(f"{self._service}.lost", Severity.DEGRADED, lost)

    def _holes(self) -> list[tuple[ChainId, int, float]]:
        now = self._world.clock.monotonic()
        holes = [
            (chain, state.received, state.hole_since)
            for flow in self._flows.values()
            for chain, state in (flow.chains or {}).items()
            if state.hole_since is not None and now - state.hole_since >= HOLE_SECONDS
        ]
        for chain, received, since in self._ends.late():
            state = self._state(chain)
            if (state is None and not received) or (
                state is not None and state.received == received and not state.early
            ):
                holes.append((chain, received, since))
        return holes

    def _state(self, chain: ChainId) -> _ChainState | None:
        return (self._flow(_flow_of(chain)).chains or {}).get(chain)

    async def _wait_for_room(self) -> None:
        if not self._full and await self._has_room():
            return
        self._full = True
        while self._full:
            await self._world.sleep(_LOOK_EVERY_SECONDS)
            await self._look_for_room()

    async def _has_room(self) -> bool:
        unhandled = await self._store.inbox.unhandled()
        self._room, self._uncounted = (self._backlog_limit - unhandled) // ROOM_SHARE, 0
        return unhandled <= self._backlog_limit or await self._movable() <= self._backlog_limit

    async def _look_for_room(self) -> None:
        if await self._movable() <= self._backlog_limit // 2:
            self._full = False

    async def _movable(self) -> int:
        # One parked message must not close the door, however many wait behind it
        return await self._store.inbox.unhandled() - await self._store.inbox.held()

    async def _take_over(self, messages: Sequence[Carried], chains: Sequence[ChainId] = ()) -> None:
        by_chain: dict[ChainId, list[Carried]] = {chain: [] for chain in chains}
        for message in messages:
            chain = ChainId(message.source, message.history, message.topic, message.partition)
            by_chain.setdefault(chain, []).append(message)
        async with self._turns_of({_flow_of(chain) for chain in by_chain}) as flows:
            effects: list[Effect] = []
            at_hand: list[AtHand] = []
            after: dict[ChainId, _ChainState] = {}
            for chain, carried in by_chain.items():
                known = flows[_flow_of(chain)].get(chain)
                if known is None and not carried:
                    continue
                moved = known.copy() if known is not None else _ChainState(await self._beginning(chain, carried))
                receive = self._sorted_in(
                    chain, carried, known.received if known is not None else 0, moved, effects, at_hand
                )
                if receive is not None:
                    effects.append(receive)
                    after[chain] = moved
            if not effects:
                return
            try:
                await self._commit(effects, at_hand)
            except BaseException:
                # Nobody knows what was committed, for instance when the caller was cancelled
                for key in flows:
                    self._flows[key].chains = None
                raise
            for chain, moved in after.items():
                flows[_flow_of(chain)][chain] = moved

    async def _commit(self, effects: Sequence[Effect], at_hand: Sequence[AtHand]) -> None:
        def unit_with(done: Collection[AtHand]) -> Unit:
            gone = {id(message.brought_by) for message in done}
            return Unit(
                self._world.clock.micros(), self._world.ids.new(), effects=[_without(each, gone) for each in effects]
            )

        if self._at_once is None or not self._all_lines():
            await self._store.commit(unit_with(()))
        else:
            await self._at_once.commit_with(at_hand, unit_with)

    @asynccontextmanager
    async def _turns_of(self, keys: Collection[_Flow]) -> AsyncIterator[dict[_Flow, dict[ChainId, _ChainState]]]:
        """One after the other for each flow, so that a chain's mark moves step by step; flows beside each other."""
        async with AsyncExitStack() as turns:
            flows = {}
            for key in sorted(keys, key=str):  # in one order, so that none wait for each other
                flow = self._flow(key)
                await turns.enter_async_context(flow.turn)
                flows[key] = await self._chains_of(flow, key)
            yield flows

    def _flow(self, key: _Flow) -> _FlowState:
        return self._flows.setdefault(key, _FlowState())

    async def _beginning(self, chain: ChainId, carried: Sequence[Carried]) -> int:
        first = min(carried, key=lambda message: message.seq)
        if first.prev == 0:
            return 0
        # The broker may have brought a later one first: the producer knows
        earlier = await self._refetch(chain, 0)
        return min([first.prev, *(message.prev for message in earlier.messages)])

    def _sorted_in(
        self,
        chain: ChainId,
        carried: Sequence[Carried],
        expected: int,
        state: _ChainState,
        effects: list[Effect],
        at_hand: list[AtHand],
    ) -> Receive | None:
        rows: list[Incoming] = []
        completed: list[int] = []
        later: set[tuple[str, str]] = set()
        """The lines in which one waits for others, and none may go before it."""
        before = state.received
        changed = state.received in state.early
        self._follow(state, completed)
        for message in sorted(carried, key=lambda each: each.seq):
            seq = message.seq
            if seq <= state.received or seq in state.early_seqs:
                if (loss := self._losses.passed_over(chain, seq)) is not None:
                    effects.append(self._losses.came(message, loss))
                continue
            changed = True
            ready = message.prev <= state.received
            incoming, envelope = self._rows(message, ready, effects)
            rows.extend(incoming)
            lines = [(row.consumer, row.key) for row in incoming]
            if ready and envelope is not None and self._is_fresh(envelope):
                at_hand.extend(
                    AtHand(row, envelope) for row, line in zip(incoming, lines, strict=True) if line not in later
                )
            else:
                later.update(lines)
            if not ready:
                state.early[message.prev] = seq
                state.early_seqs.add(seq)
                continue
            state.received = seq
            self._follow(state, completed)
        if not changed:
            return None
        if not state.early:
            state.hole_since = None
        elif state.hole_since is None or state.received != before:
            # Another hole than before, if there was one
            state.hole_since = self._world.clock.monotonic()
        return Receive(chain, expected, state.received, rows, completed)

    def _follow(self, state: _ChainState, completed: list[int]) -> None:
        while (follower := state.early.pop(state.received, None)) is not None:
            completed.append(follower)
            state.early_seqs.discard(follower)
            state.received = follower

    def _rows(self, message: Carried, ready: bool, effects: list[Effect]) -> tuple[list[Incoming], Envelope | None]:
        envelope, sent_at = None, self._world.clock.micros()
        try:
            envelope = Envelope.decode(message.envelope)
            sent_at = min(sent_at, micros_of(envelope.time))  # clocks differ a little
            consumers = self._consumers(message, envelope)
        except (MalformedEnvelope, ValueError) as error:
            origin = f"{message.source}/{message.topic}/{message.partition}/{message.seq}"
            effects.append(KeepAside(origin, str(error), message.envelope))
            consumers = []
        # An early message that nobody here wants is kept all the same: its place in the chain must be known
        if not consumers and not ready:
            consumers = [(NOBODY, "")]
        rows = [
            Incoming(message.seq, message.prev, consumer, key, message.envelope, ready, sent_at)
            for consumer, key in consumers
        ]
        return rows, envelope

    def _is_fresh(self, envelope: Envelope) -> bool:
        return micros_of(envelope.time) >= self._world.clock.micros() - FRESH_MICROSECONDS

    def _consumers(self, message: Carried, envelope: Envelope) -> list[tuple[str, str]]:
        if envelope.tenant != self._tenant:
            raise OtherTenants(envelope.tenant, self._tenant)
        if message.topic == commands_of(self._service):
            return [(HANDLERS, message.key)]
        if message.topic == replies_of(self._service):
            return [ReplyKey.line_of(envelope.replykey or "")]
        return [(consumer, message.key) for consumer in self._interested.get(envelope.type, ())]

    async def _chains_of(self, flow: _FlowState, key: _Flow) -> dict[ChainId, _ChainState]:
        if flow.chains is None:
            await self._losses.look()
            states = {}
            for chain in await self._store.inbox.chains():
                if _flow_of(chain.id) == key:
                    early = {prev: seq for seq, prev in await self._store.inbox.early(chain.id)}
                    since = self._world.clock.monotonic() if early else None
                    states[chain.id] = _ChainState(chain.received, early, set(early.values()), since)
            flow.chains = states
        return flow.chains


def _without(effect: Effect, gone: Collection[int]) -> Effect:
    """`effect` that does not take in the messages which are done."""
    if type(effect) is not Receive or not gone:
        return effect
    kept = [each for each in effect.messages if id(each) not in gone]
    lines = [(each.consumer, each.key) for each in effect.messages if id(each) in gone]
    return Receive(effect.chain, effect.expected, effect.received, kept, effect.completed, lines)


def _flow_of(chain: ChainId) -> _Flow:
    return chain.source, chain.history, chain.topic, chain.partition % FLOWS_A_TOPIC

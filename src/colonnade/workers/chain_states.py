"""What is remembered of the chains that messages come in: how far each has come, and what came of it too early."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from colonnade.persistence.store import Chain, Store
from colonnade.persistence.unit import ChainId
from colonnade.world import Clock

__all__ = ["ChainState", "ChainStates", "Turn"]

FLOWS_A_TOPIC = 2
"""How many batches of a topic are received beside each other, each of other partitions."""

_Flow = tuple[str, UUID, str, int]


@dataclass(slots=True)
class ChainState:
    """How far one chain has come; `hole_since` is the monotonic second since which something is missing of it."""

    received: int
    early: dict[int, int] = field(default_factory=dict)
    """The seq that each early message follows, by prev."""
    early_seqs: set[int] = field(default_factory=set)
    hole_since: float | None = None

    def copy(self) -> "ChainState":
        """One that may be moved on while it is not known whether that will be committed."""
        return ChainState(self.received, dict(self.early), set(self.early_seqs), self.hole_since)

    def come_early(self, seq: int, prev: int) -> None:
        """A message has come, and the one before it has not."""
        self.early[prev] = seq
        self.early_seqs.add(seq)

    def follow(self) -> list[int]:
        """Move on over what came early and follows now; the seqs of that."""
        completed = []
        while (follower := self.early.pop(self.received, None)) is not None:
            completed.append(follower)
            self.early_seqs.discard(follower)
            self.received = follower
        return completed


@dataclass(slots=True)
class _FlowState:
    """What is remembered of the chains of one flow; None when it has to be read. It moves under `lock` only."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    chains: dict[ChainId, ChainState] | None = None
    undecided: int = 0
    """How many turns have been handed over and do not know yet what came of them."""
    decided: asyncio.Event = field(default_factory=asyncio.Event)


class Turn:
    """The chains of some flows, which nobody else moves until they are handed over."""

    def __init__(self, flows: Sequence[_FlowState], chains: Mapping[_Flow, dict[ChainId, ChainState]]) -> None:
        self._flows = flows
        # As they were when the turn began: they may be forgotten meanwhile
        self._chains = chains
        self._handed_over = False

    def state(self, chain: ChainId) -> ChainState | None:
        """What is remembered of a chain; None when it is met for the first time."""
        return self._chains[_flow_of(chain)].get(chain)

    def hand_over(self, moved: Mapping[ChainId, ChainState]) -> None:
        """Let the next begin where `moved` says: when the store is about to be handed the unit, or has committed it.

        The store decides on this unit before it does on the next one's. If this one comes to nothing, so does that:
        its marks are not where it expects them.
        """
        if self._handed_over:
            return
        self._handed_over = True
        for chain, state in moved.items():
            self._chains[_flow_of(chain)][chain] = state
        for flow in self._flows:
            flow.undecided += 1
            flow.lock.release()

    def forget(self) -> None:
        """Read them again before they are moved on."""
        for flow in self._flows:
            flow.chains = None

    def end(self) -> None:
        """It is decided what came of it, or there was nothing to hand over."""
        for flow in self._flows:
            if self._handed_over:
                flow.undecided -= 1
                flow.decided.set()
            else:
                flow.lock.release()


class ChainStates:
    """Those of all chains of a service, read from its store when they are needed; `before_reading` is awaited then."""

    def __init__(self, store: Store, clock: Clock, before_reading: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._clock = clock
        self._before_reading = before_reading
        self._flows: dict[_Flow, _FlowState] = {}

    def __iter__(self) -> Iterator[tuple[ChainId, ChainState]]:
        return iter([each for flow in self._flows.values() for each in (flow.chains or {}).items()])

    def state(self, chain: ChainId) -> ChainState | None:
        """What is remembered of a chain, if anything is."""
        return (self._flow(_flow_of(chain)).chains or {}).get(chain)

    @asynccontextmanager
    async def turn(self, chains: Collection[ChainId]) -> AsyncIterator[Turn]:
        """One after the other for each flow, so that a chain's mark moves step by step; flows beside each other."""
        flows: list[_FlowState] = []
        read: dict[_Flow, dict[ChainId, ChainState]] = {}
        turn = Turn(flows, read)
        try:
            for key in sorted({_flow_of(chain) for chain in chains}, key=str):  # in one order: none wait for each other
                flow = self._flow(key)
                await flow.lock.acquire()
                flows.append(flow)
                read[key] = await self._read(key, flow)
            yield turn
        finally:
            turn.end()

    async def learn(self, known: Chain) -> None:
        """Read anew what another instance has moved on."""
        key = _flow_of(known.id)
        flow = self._flow(key)
        async with flow.lock:
            state = (flow.chains or {}).get(known.id)
            if state is None or state.received < known.received:
                flow.chains = None
                await self._read(key, flow)

    def forget(self) -> None:
        """Remember nothing: others have received for this service meanwhile."""
        for flow in self._flows.values():
            flow.chains = None

    def _flow(self, key: _Flow) -> _FlowState:
        return self._flows.setdefault(key, _FlowState())

    async def _read(self, key: _Flow, flow: _FlowState) -> dict[ChainId, ChainState]:
        if flow.chains is not None:
            return flow.chains
        while flow.undecided:  # the marks are about to move
            flow.decided.clear()
            await flow.decided.wait()
        await self._before_reading()
        states = {}
        for chain in await self._store.inbox.chains():
            if _flow_of(chain.id) == key:
                early = {prev: seq for seq, prev in await self._store.inbox.early(chain.id)}
                since = self._clock.monotonic() if early else None
                states[chain.id] = ChainState(chain.received, early, set(early.values()), since)
        flow.chains = states
        return states


def _flow_of(chain: ChainId) -> _Flow:
    return chain.source, chain.history, chain.topic, chain.partition % FLOWS_A_TOPIC

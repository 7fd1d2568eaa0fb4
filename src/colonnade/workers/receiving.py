"""The inbox's door: what comes from the broker is written down once, whatever the broker doubles or reorders."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import cast

from colonnade.brokers.broker import Carried, Unreadable
from colonnade.observability.health import HealthState
from colonnade.persistence.failures import MarkMoved
from colonnade.persistence.store import Store
from colonnade.persistence.unit import ChainId, Effect, KeepAside, Receive, Unit
from colonnade.workers.at_once import AtHand, AtOnce
from colonnade.workers.backpressure import BACKLOG_LIMIT, Backpressure
from colonnade.workers.chain_ends import AskEnds, ChainEnds
from colonnade.workers.chain_states import ChainState, ChainStates
from colonnade.workers.holes import Holes
from colonnade.workers.losses import Losses
from colonnade.workers.refetching import Refetch
from colonnade.workers.rewinding import Rewinding
from colonnade.workers.sorting import Sorting
from colonnade.workers.succession import AskHistories, Succession
from colonnade.world import World

__all__ = ["Inbox"]


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
        self._store = store
        self._at_once = at_once
        self._all_lines = all_lines
        self._world = world
        self._refetch = refetch
        self._losses = Losses(service, store, world)
        self._chains = ChainStates(store, world.clock, self._losses.look)
        self._sorting = Sorting(service, world, interested, self._losses, tenant)
        self._backpressure = Backpressure(service, store, world, backlog_limit)
        self._ends = ChainEnds(ask_ends, world.clock)
        self._holes = Holes(
            service, self._chains, self._ends, self._losses, refetch, self._take_over_in_history, world.clock
        )  # fmt: skip
        self._succession = (
            Succession(service, store, world, histories, self._chains.forget) if histories is not None else None
        )
        self._rewinding = Rewinding(service, refetch)

    def health(self) -> Sequence[HealthState]:
        """Holes in chains, a backlog that keeps messages out, and what producers have lost."""
        succession = self._succession.health() if self._succession is not None else ()
        return [
            *self._holes.health(),
            *self._backpressure.health(),
            *succession,
            *self._losses.health(),
            *self._rewinding.health(),
        ]

    async def receive(self, messages: Sequence[Carried | Unreadable]) -> None:
        """Write `messages` down; when it returns they are durable. It waits while there is a backlog.

        What is no message is kept aside.
        """
        unreadable = [each for each in messages if isinstance(each, Unreadable)]
        if unreadable:
            kept = [KeepAside(each.origin, each.reason, each.data) for each in unreadable]
            await self._store.commit(Unit(self._world.clock.micros(), self._world.ids.new(), effects=[*kept]))
            messages = [each for each in messages if isinstance(each, Carried)]
        whole = cast(Sequence[Carried], messages)
        for some in (whole,) if self._at_once is None else self._at_once.portions(whole):
            await self._receive(some)

    async def tend(self) -> None:
        """Fetch what has been missing for too long, and see whether there is room again; to be called now and then."""
        if self._succession is not None:
            await self._succession.look_after()
        chains = await self._store.inbox.chains()
        for known in chains:
            await self._chains.learn(known)
        await self._close_up()
        if self._backpressure.full:
            self._ends.forget()  # what waits at the broker, because nothing is taken in, is not missing
        else:
            marks = {known.id: known.received for known in chains}
            await self._ends.look(marks)
            for chain in self._ends.short():
                await self._rewinding.ask(chain, marks[chain])
        await self._holes.fill()
        await self._backpressure.look()

    def forget(self) -> None:
        """Remember nothing of the chains: others have received for this service meanwhile."""
        if self._succession is not None:
            self._succession.forget()
        self._chains.forget()

    async def _receive(self, messages: Sequence[Carried]) -> None:
        await self._backpressure.admit(len(messages))
        try:
            await self._take_over_in_history(messages)
        except MarkMoved:
            # What is remembered of the chains was old: it has been forgotten
            if self._succession is not None:
                self._succession.forget()
            await self._take_over_in_history(messages)

    async def _close_up(self) -> None:
        """Make ready what one instance received early while another one received what goes before it."""
        behind = [chain for chain, state in self._chains if state.received in state.early]
        if behind:
            with suppress(MarkMoved):  # somebody else does it
                await self._take_over((), behind)

    async def _take_over_in_history(self, messages: Sequence[Carried]) -> None:
        if self._succession is not None:
            messages = await self._succession.sorted_out(messages)
        await self._take_over(messages)

    async def _take_over(self, messages: Sequence[Carried], chains: Sequence[ChainId] = ()) -> None:
        by_chain: dict[ChainId, list[Carried]] = {chain: [] for chain in chains}
        for message in messages:
            chain = ChainId(message.source, message.history, message.topic, message.partition)
            by_chain.setdefault(chain, []).append(message)
        async with self._chains.turn(by_chain) as turn:
            effects: list[Effect] = []
            at_hand: list[AtHand] = []
            after: dict[ChainId, ChainState] = {}
            for chain, carried in by_chain.items():
                known = turn.state(chain)
                if known is None and not carried:
                    continue
                moved = known.copy() if known is not None else ChainState(await self._beginning(chain, carried))
                found = self._sorting.sort(chain, carried, known.received if known is not None else 0, moved)
                effects += found.aside
                at_hand += found.at_hand
                if found.receive is not None:
                    effects.append(found.receive)
                    after[chain] = moved
            if not effects:
                return
            try:
                await self._commit(effects, at_hand, partial(turn.hand_over, after))
                turn.hand_over(after)
            except BaseException:
                turn.forget()  # nobody knows what was committed, for instance when the caller was cancelled
                raise

    async def _beginning(self, chain: ChainId, carried: Sequence[Carried]) -> int:
        first = min(carried, key=lambda message: message.seq)
        if first.prev == 0:
            return 0
        # The broker may have brought a later one first: the producer knows
        earlier = await self._refetch(chain, 0)
        return min([first.prev, *(message.prev for message in earlier.messages)])

    async def _commit(
        self, effects: Sequence[Effect], at_hand: Sequence[AtHand], handing_over: Callable[[], None]
    ) -> None:
        def unit_with(done: Collection[int]) -> Unit:
            return Unit(
                self._world.clock.micros(), self._world.ids.new(), effects=[_without(each, done) for each in effects]
            )

        if self._at_once is None or not self._at_once.has_room or not self._all_lines():
            handing_over()
            await self._store.commit(unit_with(()))
        else:
            await self._at_once.commit_with(at_hand, unit_with, handing_over)


def _without(effect: Effect, done: Collection[int]) -> Effect:
    """`effect` that does not take in the messages which are done."""
    if type(effect) is not Receive or not done:
        return effect
    kept = [each for each in effect.messages if id(each) not in done]
    lines = [(each.consumer, each.key) for each in effect.messages if id(each) in done]
    return Receive(effect.chain, effect.expected, effect.received, kept, effect.completed, lines)

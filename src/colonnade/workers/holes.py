"""Holes in chains: what has been missing for too long is fetched from its producer, and told."""

from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from colonnade.brokers.broker import Carried
from colonnade.observability.health import HealthState, Severity
from colonnade.persistence.unit import ChainId
from colonnade.workers.chain_ends import ChainEnds
from colonnade.workers.chain_states import ChainStates
from colonnade.workers.losses import Losses
from colonnade.workers.refetching import Obstacle, Refetch, Refetched
from colonnade.world import Clock

__all__ = ["HOLE_SECONDS", "Holes"]

HOLE_SECONDS = 10.0
"""For how long a message may be missing before it is fetched from its producer, and told as a health state."""

_FETCHED = {
    None: "it is fetched from its producer",
    Obstacle.AWAY: "its producer cannot be asked; it is asked again and again",
}
_NEVER = {
    Obstacle.PRUNED: "its producer has deleted it",
    Obstacle.OTHER_HISTORY: "its producer's store is another one by now, restored or made anew",
}

TakeOver = Callable[[Sequence[Carried]], Awaitable[None]]
"""Writes messages down; when it returns they are durable."""


class Holes:
    """Those of one service's chains; what is fetched is handed to `take_over`."""

    def __init__(
        self,
        service: str,
        chains: ChainStates,
        ends: ChainEnds,
        losses: Losses,
        refetch: Refetch,
        take_over: TakeOver,
        clock: Clock,
    ) -> None:
        self._service = service
        self._chains = chains
        self._ends = ends
        self._losses = losses
        self._refetch = refetch
        self._take_over = take_over
        self._clock = clock
        # What the producer of a chain said when it was asked for what comes after a seq
        self._obstacles: dict[ChainId, tuple[int, Obstacle | None]] = {}

    def health(self) -> Sequence[HealthState]:
        """What has been missing for too long, and whether it will come."""
        now = self._clock.monotonic()
        return [self._told(chain, received, now - since) for chain, received, since in self._late()]

    async def fill(self) -> None:
        """Fetch what has been missing for too long."""
        for chain, received, since in self._late():
            await self._fill(chain, received, since)

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
            await self._take_over(missing)
            state = self._chains.state(chain)
            if state is None or not (state.early or self._ends.lies_beyond(chain, state.received)):
                return
            received = state.received

    async def _note_loss(self, chain: ChainId, received: int, refetched: Refetched, since: float) -> None:
        state = self._chains.state(chain)
        ends = [] if refetched.pruned is None else [refetched.pruned]
        if state is not None and state.early:
            ends.append(min(state.early))
        if ends and refetched.obstacle is not None:
            seconds = self._clock.monotonic() - since
            await self._losses.note(chain, received, min(ends), _NEVER[refetched.obstacle], seconds)

    def _told(self, chain: ChainId, received: int, seconds: float) -> HealthState:
        missing = (
            f"A message from {chain.source} on {chain.topic}/{chain.partition} after {received} "
            f"has been missing for {seconds:.0f} s"
        )
        asked_after, obstacle = self._obstacles.get(chain, (received, None))
        if obstacle not in _NEVER or asked_after != received:
            fetched = f"{missing}; {_FETCHED.get(obstacle, _FETCHED[None])}."
            return HealthState(f"{self._service}.hole", Severity.DEGRADED, fetched)
        state = self._chains.state(chain)
        waiting = len(state.early_seqs) if state is not None else 0
        lost = (
            f"{missing} and will not come: {_NEVER[obstacle]}. {waiting} messages wait behind it; take it from a "
            "backup of its producer, or pass over it (colonnade lost list, colonnade lost pass-over "
            f"{self._service} ROW), and let producers keep what has left for longer."
        )
        return HealthState(f"{self._service}.lost", Severity.DEGRADED, lost)

    def _late(self) -> list[tuple[ChainId, int, float]]:
        now = self._clock.monotonic()
        holes = [
            (chain, state.received, state.hole_since)
            for chain, state in self._chains
            if state.hole_since is not None and now - state.hole_since >= HOLE_SECONDS
        ]
        for chain, received, since in self._ends.late():
            state = self._chains.state(chain)
            if (state is None and not received) or (
                state is not None and state.received == received and not state.early
            ):
                holes.append((chain, received, since))
        return holes

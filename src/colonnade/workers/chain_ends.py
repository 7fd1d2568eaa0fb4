"""How far producers have published: a lost last message of a chain shows by that alone, for nothing comes after it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from colonnade.persistence.unit import ChainId
from colonnade.workers.refetching import ChainEnd
from colonnade.world import Clock

__all__ = ["ASK_EVERY_SECONDS", "LATE_SECONDS", "AskEnds", "ChainEnds"]

ASK_EVERY_SECONDS = 4.0
"""How often all producers are asked; with `LATE_SECONDS` a lost message is told within ten seconds."""

LATE_SECONDS = 4.0
"""For how long nothing may come of a chain whose end is known to lie further on. What is fetched though it was only
slow is known by its place in the chain."""

AskEnds = Callable[[], Awaitable[Sequence[ChainEnd]]]
"""Asks all producers for the ends of their chains; those that do not answer are left out."""


@dataclass(frozen=True, slots=True)
class _Behind:
    end: int
    received: int
    since: float


class ChainEnds:
    """Which chains have not come as far as their producers say."""

    def __init__(self, ask: AskEnds, clock: Clock) -> None:
        self._ask = ask
        self._monotonic = clock.monotonic
        self._asked: float | None = None
        self._behind: dict[ChainId, _Behind] = {}
        self._short: dict[ChainId, float] = {}

    async def look(self, received: Mapping[ChainId, int]) -> None:
        """Ask, when it is time, and compare with how far each chain has come here."""
        if self._asked is not None and self._monotonic() - self._asked < ASK_EVERY_SECONDS:
            return
        self._asked = self._monotonic()
        for end in await self._ask():
            reached = received.get(end.chain, 0)
            if end.seq < reached:
                self._short.setdefault(end.chain, self._monotonic())
            else:
                self._short.pop(end.chain, None)
            # A chain that was never heard of begins with what its producer still has
            if end.seq <= reached or not (reached or end.kept):
                self._behind.pop(end.chain, None)
                continue
            before = self._behind.get(end.chain)
            since = self._monotonic() if before is None or before.received != reached else before.since
            self._behind[end.chain] = _Behind(end.seq, reached, since)

    def forget(self) -> None:
        """Begin anew: nothing was taken over meanwhile, and nobody is late."""
        self._behind.clear()

    def late(self) -> Sequence[tuple[ChainId, int, float]]:
        """The chains of which a message is missing unless they have moved on, how far each had come, and since when."""
        now = self._monotonic()
        return [
            (chain, behind.received, behind.since)
            for chain, behind in self._behind.items()
            if now - behind.since >= LATE_SECONDS
        ]

    def short(self) -> Sequence[ChainId]:
        """The chains of which more has come than their producers say, for longer than it takes to note that."""
        now = self._monotonic()
        return [chain for chain, since in self._short.items() if now - since >= LATE_SECONDS]

    def lies_beyond(self, chain: ChainId, received: int) -> bool:
        """Whether the chain is known to go on after `received`."""
        behind = self._behind.get(chain)
        return behind is not None and behind.end > received

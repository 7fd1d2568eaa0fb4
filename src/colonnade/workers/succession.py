"""When a producer's database was promoted or restored: its messages are held against the history that it is in now.

Up to a fork both histories have the same, and what comes of either is the same message. Beyond it the same number is
another message, and what was received of the old one its producer has lost: that is told, not hidden.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from uuid import UUID

import msgspec
from msgspec.structs import replace

from colonnade.brokers.broker import Carried
from colonnade.messages.envelope import Envelope, MalformedEnvelope
from colonnade.observability.health import HealthBoard, HealthState, Severity
from colonnade.observability.logs import get_logger
from colonnade.persistence.store import Chain, KeptAside, Store
from colonnade.persistence.unit import Effect, KeepAside, Succeed, Unit
from colonnade.world import World

__all__ = ["ASK_SECONDS", "AskHistories", "Histories", "ProducerAway", "Succession", "histories_of"]

ASK_SECONDS = 30.0
"""How often a producer that sends nothing is asked which history it is in."""

NAMED = 20
"""So many lost messages are named in a sentence; all are kept aside."""

_PAGE_ROWS = 256

_log = get_logger()


class Histories(msgspec.Struct, frozen=True, gc=False):
    """The history that a producer is in; those before, each with the position up to which the present has the same."""

    present: UUID
    ended: Mapping[UUID, int]


AskHistories = Callable[[str], Awaitable[Histories | None]]
"""Asks a producer; None while it cannot be asked."""


class ProducerAway(Exception):
    """A producer's messages are of a history that is new here, and it cannot be asked about that now."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.source = source

    def __str__(self) -> str:
        return (
            f"Messages of {self.source} are of a history that is new here, and it cannot be asked where that begins; "
            "they are received as soon as it answers."
        )


def histories_of(store: Store) -> Histories:
    """What a producer answers."""
    return Histories(store.history, store.ended)


class Succession:
    """Follows the producers of one service from history to history. `forget` is called when chains have moved."""

    def __init__(self, service: str, store: Store, world: World, ask: AskHistories, forget: Callable[[], None]) -> None:
        self._service = service
        self._store = store
        self._world = world
        self._ask = ask
        self._forget_chains = forget
        self._present: dict[str, Histories] = {}
        self._asked_at: dict[str, float] = {}
        self._board = HealthBoard()

    def health(self) -> Sequence[HealthState]:
        """What producers have lost that was received here; it stands until the process is started anew."""
        return self._board()

    def forget(self) -> None:
        """Remember nothing: others have received for this service meanwhile."""
        self._present.clear()

    async def sorted_out(self, messages: Sequence[Carried]) -> Sequence[Carried]:
        """Those to be received, each under the present history of its producer; the others are kept aside.

        Raises `ProducerAway`.
        """
        by_source: dict[str, set[UUID]] = {}
        for message in messages:
            by_source.setdefault(message.source, set()).add(message.history)
        unfamiliar = {
            source
            for source, histories in by_source.items()
            if (known := self._present.get(source)) is None or histories != {known.present}
        }
        if not unfamiliar:
            return messages
        for source in unfamiliar:
            await self._meet(source, by_source[source])
        kept: list[Carried] = []
        aside: list[Effect] = []
        for message in messages:
            told = self._present[message.source]
            shared = told.ended.get(message.history, 0)
            if message.history == told.present:
                kept.append(message)
            elif message.seq <= shared:
                kept.append(replace(message, history=told.present))
            else:
                aside.append(self._refused(message))
        if aside:
            await self._store.commit(Unit(self._world.clock.micros(), self._world.ids.new(), effects=aside))
        return kept

    async def look_after(self) -> None:
        """Ask the producers that are known here, now and then: one that sends nothing may have lost something too."""
        now = self._world.clock.monotonic()
        by_source: dict[str, list[Chain]] = {}
        for chain in await self._store.inbox.chains():
            by_source.setdefault(chain.id.source, []).append(chain)
        for source, chains in by_source.items():
            if now - self._asked_at.get(source, -ASK_SECONDS) < ASK_SECONDS:
                continue
            self._asked_at[source] = now
            told = await self._ask(source)
            if told is not None:
                await self._follow(source, chains, told)

    async def _meet(self, source: str, met: Collection[UUID]) -> None:
        known = self._present.get(source)
        if known is not None and all(each == known.present or each in known.ended for each in met):
            return
        chains = [chain for chain in await self._store.inbox.chains() if chain.id.source == source]
        histories = {*met, *(chain.id.history for chain in chains)}
        if len(histories) == 1:
            (present,) = histories
            self._present[source] = Histories(present, {})
            return
        told = await self._ask(source)
        if told is None:
            raise ProducerAway(source)
        await self._follow(source, chains, told)

    async def _follow(self, source: str, chains: Sequence[Chain], told: Histories) -> None:
        behind = [chain for chain in chains if chain.id.history in told.ended]
        if behind:
            effects: list[Effect] = [
                Succeed(chain.id, told.present, told.ended[chain.id.history], _reason(source, chain.id.history))
                for chain in behind
            ]
            await self._store.commit(Unit(self._world.clock.micros(), self._world.ids.new(), effects=effects))
            self._forget_chains()
        self._present[source] = told
        if behind:
            await self._tell(source, behind, told)

    async def _tell(self, source: str, behind: Sequence[Chain], told: Histories) -> None:
        lost = [chain for chain in behind if chain.received > told.ended[chain.id.history]]
        aside = await self._kept_aside({_reason(source, chain.id.history) for chain in behind})
        _log.info("producer in another history", service=self._service, source=source, history=str(told.present))
        if not lost and not aside:
            return
        marks = ", ".join(
            f"{chain.id.topic}/{chain.id.partition} after {told.ended[chain.id.history]} up to {chain.received}"
            for chain in lost
        )
        named = ", ".join(_named(each) for each in aside[:NAMED]) or "none"
        more = f" and {len(aside) - NAMED} more" if len(aside) > NAMED else ""
        detail = (
            f"{source} was promoted or restored and has lost messages that were received here: "
            f"{marks or 'none in order'}. Kept aside, as not all who want them had handled them: {named}{more}; the "
            "others were handled. Compare the two by hand."
        )
        _log.error("messages lost by their producer", service=self._service, source=source, detail=detail)
        self._board.raise_state(HealthState(f"{self._service}.lost.{source}", Severity.DEGRADED, detail))

    async def _kept_aside(self, reasons: Collection[str]) -> Sequence[KeptAside]:
        found: list[KeptAside] = []
        after = 0
        while page := await self._store.inbox.kept_aside(after, _PAGE_ROWS):
            found += [each for each in page if each.reason in reasons]
            after = page[-1].row
        return found

    def _refused(self, message: Carried) -> KeepAside:
        origin = f"{message.source}/{message.topic}/{message.partition}/{message.seq}"
        reason = _reason(message.source, message.history)
        _log.error("message of a lost history", service=self._service, origin=origin, history=str(message.history))
        detail = (
            f"A message came from {message.source} that it has lost, or never sent: {origin} of history "
            f"{message.history}. It is kept aside; see that no former primary goes on sending."
        )
        name = f"{self._service}.former.{message.source}"
        self._board.raise_state(HealthState(name, Severity.DEGRADED, detail))
        return KeepAside(origin, reason, message.envelope)


def _reason(source: str, history: UUID) -> str:
    return f"{source} has lost it: it is of history {history}, beyond what it has kept"


def _named(aside: KeptAside) -> str:
    try:
        id = str(Envelope.decode(aside.data).id)
    except MalformedEnvelope:
        id = "unreadable"
    return f"{aside.origin} ({id})"

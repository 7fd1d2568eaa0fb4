"""A producer whose store was put back to an older copy of itself, and cannot tell: who has received more can."""

from collections.abc import Sequence

from colonnade.observability.health import HealthBoard, HealthState, Severity
from colonnade.observability.logs import get_logger
from colonnade.persistence.unit import ChainId
from colonnade.workers.refetching import Obstacle, Refetch

__all__ = ["Rewinding"]

_log = get_logger()


class Rewinding:
    """Asks a producer that says it has published less than has come here whether it knows the last message of those."""

    def __init__(self, service: str, refetch: Refetch) -> None:
        self._service = service
        self._refetch = refetch
        self._asked: dict[ChainId, int] = {}
        self._board = HealthBoard()

    def health(self) -> Sequence[HealthState]:
        """Which producers know nothing of what they have sent; it stands until the process is started anew."""
        return self._board()

    async def ask(self, chain: ChainId, received: int) -> None:
        """Ask about the message `received`, once: that it has not been noted as published says nothing yet."""
        if self._asked.get(chain) == received:
            return
        refetched = await self._refetch(chain, received - 1)
        if refetched.obstacle is Obstacle.AWAY:
            return
        self._asked[chain] = received
        if refetched.obstacle is not None or (refetched.messages and refetched.messages[0].seq == received):
            return  # it knows it, or knew it and has deleted it; in another history it is followed
        detail = (
            f"{chain.source} knows nothing of what was received from it up to {received} on {chain.topic}/"
            f"{chain.partition}: its store was put back to an older copy. What it sends anew under numbers up to "
            "there is taken for what has come already; compare the two by hand."
        )
        _log.error("producer was put back", service=self._service, source=chain.source, detail=detail)
        name = f"{self._service}.rewound.{chain.source}"
        self._board.raise_state(HealthState(name, Severity.DEGRADED, detail))

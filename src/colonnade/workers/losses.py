"""What no producer has any more: noted where a person can pass over it, and known again should it come after all."""

from collections.abc import Sequence

from colonnade.brokers.broker import Carried
from colonnade.observability.health import HealthBoard, HealthState, Severity
from colonnade.observability.logs import get_logger
from colonnade.persistence.store import Loss, Store
from colonnade.persistence.unit import ChainId, KeepAside, NoteLoss, Unit
from colonnade.world import World, datetime_of

__all__ = ["Losses"]

_PAGE_ROWS = 256

_log = get_logger()


class Losses:
    """Those of one service's chains."""

    def __init__(self, service: str, store: Store, world: World) -> None:
        self._service = service
        self._store = store
        self._world = world
        self._noted: dict[ChainId, tuple[int, int]] = {}
        self._passed: dict[ChainId, dict[int, Loss]] = {}
        """What was passed over, by row."""
        self._began = world.clock.micros()
        self._board = HealthBoard()

    def health(self) -> Sequence[HealthState]:
        """What came though it had been passed over; it stands until the process is started anew."""
        return self._board()

    async def note(self, chain: ChainId, after: int, up_to: int, reason: str, seconds: float) -> None:
        """Write down, once, what has been missing for so many seconds and will not come."""
        if self._noted.get(chain) == (after, up_to):
            return
        now = self._world.clock.micros()
        loss = NoteLoss(chain, after, up_to, reason, now - round(seconds * 1_000_000))
        await self._store.commit(Unit(now, self._world.ids.new(), effects=[loss]))
        self._noted[chain] = after, up_to
        _log.error("messages lost", service=self._service, **_told(chain, after, up_to), reason=reason)

    async def look(self) -> None:
        """Learn what has been passed over; what was since this process began is told in the log, once."""
        found: dict[ChainId, dict[int, Loss]] = {}
        row = 0
        while page := await self._store.losses.page(row, _PAGE_ROWS):
            row = page[-1].row
            for loss in page:
                if loss.passed_at is None:
                    continue
                found.setdefault(loss.chain, {})[loss.row] = loss
                if loss.passed_at >= self._began and loss.row not in self._passed.get(loss.chain, {}):
                    told = _told(loss.chain, loss.after, loss.up_to)
                    _log.warning("lost messages passed over", service=self._service, by=loss.passed_by, **told)
        self._passed = found

    def passed_over(self, chain: ChainId, seq: int) -> Loss | None:
        """By what the message of this seq was passed over, if it was."""
        of_chain = self._passed.get(chain, {})
        return next((loss for loss in of_chain.values() if loss.after < seq <= loss.up_to), None)

    def came(self, message: Carried, loss: Loss) -> KeepAside:
        """Keep a message that was passed over for a person to look at: those behind it have been handled."""
        origin = f"{message.source}/{message.topic}/{message.partition}/{message.seq}"
        _log.error("message came after it was passed over", service=self._service, origin=origin, by=loss.passed_by)
        moment = f" on {datetime_of(loss.passed_at):%Y-%m-%d at %H:%M:%S} UTC" if loss.passed_at is not None else ""
        reason = f"it came after {loss.passed_by} had passed over it{moment}"
        detail = (
            f"A message has come though it had been passed over: {origin}; {reason}. It is kept aside "
            "(colonnade dead-letters list --malformed), as those behind it have been handled; do by "
            "hand what it asks for."
        )
        self._board.raise_state(HealthState(f"{self._service}.passed-over", Severity.DEGRADED, detail))
        return KeepAside(origin, reason, message.envelope)


def _told(chain: ChainId, after: int, up_to: int) -> dict[str, object]:
    return {
        "source": chain.source,
        "history": str(chain.history),
        "topic": chain.topic,
        "partition": chain.partition,
        "after": after,
        "up_to": up_to,
    }

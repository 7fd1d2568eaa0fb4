"""Health states in the log: when each began and when it was gone."""

from colonnade.observability.health import Health, HealthState
from colonnade.observability.logs import get_logger
from colonnade.world import World

__all__ = ["log_health"]

LOOK_EVERY_SECONDS = 2.0

_log = get_logger()


async def log_health(health: Health, world: World) -> None:
    """Look at `health` now and then, until cancelled, and tell what has changed."""
    standing: dict[str, HealthState] = {}
    while True:
        now = {state.name: state for state in health.states()}
        for name in now.keys() - standing.keys():
            state = now[name]
            _log.warning("health state began", state=name, severity=state.severity, detail=state.detail)
        for name in standing.keys() - now.keys():
            _log.info("health state ended", state=name)
        standing = now
        await world.sleep(LOOK_EVERY_SECONDS)

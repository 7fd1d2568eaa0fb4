"""Health states in the log."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from colonnade.observability.health import Health, HealthBoard, HealthState, Severity
from colonnade.system.hosts.health_log import log_health
from colonnade.world import World, real_world


async def test_a_state_is_logged_when_it_begins_and_when_it_is_gone(
    logged: list[MutableMapping[str, Any]],
) -> None:
    """Once each, however long it stands."""
    real, board = real_world(), HealthBoard()
    looks = 0

    async def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            board.raise_state(HealthState("ordering.relay", Severity.DEGRADED, "the broker is away"))
        if looks == 4:
            board.clear("ordering.relay")
        if looks == 6:
            raise asyncio.CancelledError

    world = World(real.clock, real.randomness, real.ids, sleep)
    with pytest.raises(asyncio.CancelledError):
        await log_health(Health(real.clock, [board]), world)
    assert [(line["event"], line["log_level"], line["state"]) for line in logged] == [
        ("health state began", "warning", "ordering.relay"),
        ("health state ended", "info", "ordering.relay"),
    ]
    assert logged[0]["detail"] == "the broker is away"

"""Quotas: what one tenant may take, and that the other does not feel it."""

import asyncio
import math
from pathlib import Path
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from colonnade.gateway.tenancy import TenantDoor
from colonnade.security.rates import WINDOW_SECONDS, RateWindow
from colonnade.security.tenants import Tenant
from colonnade.testing.http import request
from tests.tenancy.doors import Room
from tests.tenancy.houses import NOTE, street
from tests.workers.hands import HandClock


async def test_more_requests_than_the_quota_are_told_when_to_come() -> None:
    """With 429 and Retry-After; the other's are let in, and when the time is over so are its own."""
    clock, acme, bolt = HandClock(), Room(), Room()
    door = TenantDoor({"acme": acme, "bolt": bolt}, Room(), {"acme": RateWindow(3, clock)})

    async def asked(tenant: str) -> int:
        return (await request(door, "GET", "/api/x", headers={"colonnade-tenant": tenant})).status

    assert [await asked("acme") for _ in range(4)] == [200, 200, 200, 429]
    refused = await request(door, "GET", "/api/x", headers={"colonnade-tenant": "acme"})
    assert (refused.headers["retry-after"], refused.headers["cache-control"]) == ("1", "no-store")
    assert refused.json()["type"] == "urn:problem:colonnade.TooManyRequests"
    assert refused.json()["detail"].startswith("3 requests of acme came within a second, and more are not in its quota")
    assert [await asked("bolt") for _ in range(20)] == [200] * 20
    clock.advance(int(refused.headers["retry-after"]))
    assert await asked("acme") == 200
    assert (acme.entered, bolt.entered) == (4, 20)


async def test_slow_requests_of_one_leave_room_for_the_other() -> None:
    """Above its part of what is worked on at a time, one is told to come again; when some have ended, it may."""
    acme, bolt = Room(is_open=False), Room()
    door = TenantDoor({"acme": acme, "bolt": bolt}, Room(), {}, most=3)

    async def asked(tenant: str) -> int:
        return (await request(door, "GET", "/api/x", headers={"colonnade-tenant": tenant})).status

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        slow = [group.create_task(asked("acme")) for _ in range(3)]
        for _ in slow:
            await acme.came.acquire()
        busy = await request(door, "GET", "/api/x", headers={"colonnade-tenant": "acme"})
        assert (busy.status, busy.headers["retry-after"]) == (503, "1")
        assert await asked("bolt") == 200
        slow[0].cancel()
        await asyncio.wait([slow.pop(0)])
        waiting = group.create_task(asked("acme"))
        await acme.came.acquire()
        acme.open.set()
        assert await waiting == 200
    assert [each.result() for each in slow] == [200, 200]


@given(st.integers(1, 5), st.lists(st.floats(0, 2, allow_nan=False), max_size=60))
def test_in_no_second_are_there_more(limit: int, pauses: list[float]) -> None:
    """Wherever the second begins; nobody is kept out without need, and who waits as long as he was told gets in."""
    clock = HandClock()
    window, passed = RateWindow(limit, clock), list[float]()
    for pause in pauses:
        clock.advance(pause)
        now = clock.monotonic()
        recent = [moment for moment in passed if moment > now - WINDOW_SECONDS]
        wait = window.enter()
        if wait is None:
            assert len(recent) < limit
            passed.append(now)
        else:
            assert len(recent) >= limit
            assert 0 < wait <= WINDOW_SECONDS
            clock.advance(math.ceil(wait))
            assert window.enter() is None
            passed.append(clock.monotonic())


async def test_beyond_the_quota_of_events_only_queries_go_on(tmp_path: Path) -> None:
    """Commands are refused with 403 and the remedy, what was answered is answered again, and the other goes on."""
    async with street(tmp_path, acme=Tenant("acme", events=40)) as both:
        first = await both.acme.pin("note 0", idempotency_key="k")
        assert first.status == 200
        number = 0
        while (answer := await both.acme.pin(f"note {number}", UUID(int=number))).status == 200:
            number += 1
            assert number <= 40
        assert (answer.status, answer.json()["type"]) == (403, "urn:problem:colonnade.QuotaReached")
        assert answer.json()["detail"] == (
            "acme has stored 40 events in notes, which is its quota: commands are refused, queries are answered; ask "
            "who runs this system for a higher one."
        )
        await both.all.settled()
        assert (await both.acme.pin("note 0", idempotency_key="k")).headers["idempotency-replayed"] == "true"
        assert (await both.acme.get(f"anew/{NOTE}")).status == 200
        for number in range(50):
            assert (await both.bolt.pin("bolt", UUID(int=number))).status == 200
        # What had begun has ended: every saga has filed its note
        assert len((await both.acme.get("filed")).json()) == len((await both.acme.get("notes")).json())


async def test_a_quota_that_was_reached_is_known_after_a_restart(tmp_path: Path) -> None:
    """It is counted from what is stored, not from what a process has seen."""
    for round in range(2):
        async with street(tmp_path, acme=Tenant("acme", events=1)) as both:
            assert (await both.acme.pin("first")).status == (403 if round else 200)
            await both.all.settled()

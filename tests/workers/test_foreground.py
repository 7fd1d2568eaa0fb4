"""While requests are being answered, few messages of a consumer are begun beside each other."""

from pathlib import Path

import pytest

from colonnade.workers.pace import ALONE_SECONDS
from colonnade.workers.places import BESIDE_REQUESTS, FRESH_MICROSECONDS, IN_FLIGHT, YOUNG_SECONDS, Places
from tests.workers.bench import a_bench

MESSAGES = [f"{number}" for number in range(100)]


async def test_few_begin_together_beside_a_request_and_the_next_when_those_are_done(tmp_path: Path) -> None:
    """None is left: when the request is answered all begin that have a place."""
    async with a_bench(tmp_path) as bench:
        with bench.foreground.answering():
            await bench.hold(MESSAGES)
            for round in range(1, 4):
                await bench.script.until_tried(round * BESIDE_REQUESTS)
                assert bench.script.at_work == BESIDE_REQUESTS
                for said in bench.script.tried[-BESIDE_REQUESTS:]:
                    bench.script.gates[said.strip('"')].set()
        await bench.script.until_tried(3 * BESIDE_REQUESTS + IN_FLIGHT)
        bench.let_go()


async def test_who_waits_for_the_outside_leaves_room_for_others(tmp_path: Path) -> None:
    """It takes nothing from the requests, whose number and end are not known: others begin though it does not end."""
    async with a_bench(tmp_path) as bench:
        with bench.foreground.answering():
            await bench.hold(MESSAGES)
            for begun in range(BESIDE_REQUESTS, IN_FLIGHT, BESIDE_REQUESTS):
                await bench.script.until_tried(begun)
                assert bench.script.at_work == begun
                await bench.advance(2 * YOUNG_SECONDS)
            await bench.script.until_tried(IN_FLIGHT)
        bench.let_go()


async def test_a_backlog_that_need_not_rest_waits_for_the_requests_all_the_same(tmp_path: Path) -> None:
    """While those that began just now are at work none can begin, and it is not looked again and again."""
    async with a_bench(tmp_path, at_work=False) as bench:
        await bench.hold(MESSAGES)
        bench.clock.advance(FRESH_MICROSECONDS / 1_000_000 + 1)
        places = Places("work", bench.script, bench.foreground)
        with bench.foreground.answering():
            await places.take(bench.store.inbox, bench.clock)
            bench.clock.advance(ALONE_SECONDS)
            places.changed = True
            assert len(await places.take(bench.store.inbox, bench.clock)) == BESIDE_REQUESTS
            places.changed = True
            assert await places.take(bench.store.inbox, bench.clock) == []
            assert places.rest(bench.clock) == pytest.approx(YOUNG_SECONDS)

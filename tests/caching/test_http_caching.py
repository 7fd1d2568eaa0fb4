"""What is kept of a service's answers, and what HTTP says about them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from colonnade.caching import CacheStore, MemoryCache
from colonnade.caching.query_cache import QueryCache
from colonnade.persistence import DataDirectory
from colonnade.presentation import openapi_document
from colonnade.presentation.caching import Cache, InvalidCache
from colonnade.system.engines import Engines, embedded_engines
from colonnade.testing.running import RunningSystem, running_system
from colonnade.world import real_world
from tests.caching.pinboard import answered, pinboard

_WORLD = real_world()


def engines_with(queries: QueryCache, data: Path) -> Engines:
    """All in files, but for the answers that are kept."""
    return replace(embedded_engines(DataDirectory(data), _WORLD), queries=queries)


@pytest.fixture
async def board(cache: CacheStore, tmp_path: Path) -> AsyncIterator[RunningSystem]:
    """A pinboard with one note."""
    engines = engines_with(QueryCache(cache, _WORLD), tmp_path)
    async with running_system(pinboard, tmp_path, engines=engines) as system:
        await system.request("POST", "/api/notes/note", json={"text": "one"})
        await system.settled()
        answered.clear()
        yield system


async def test_an_answer_is_read_once(board: RunningSystem) -> None:
    """While nothing changes, the handler runs once for all who ask."""
    for _ in range(3):
        answer = await board.request("GET", "/api/notes/note")
        assert (answer.status, answer.json()) == (200, "one")
    assert answered["NoteText"] == 1


async def test_an_event_ends_what_was_made_from_its_tables(board: RunningSystem) -> None:
    """After the projection has followed, nobody gets the old answer, token or not; others are still kept."""
    await board.request("GET", "/api/notes/note")
    await board.request("GET", "/api/notes/shelves/1")
    await board.request("POST", "/api/notes/note", json={"text": "two"})
    await board.settled()
    assert (await board.request("GET", "/api/notes/note")).json() == "two"
    await board.request("GET", "/api/notes/shelves/1")
    assert answered == {"NoteText": 2, "ShelfLabel": 1}


async def test_who_has_seen_more_is_not_given_less(board: RunningSystem) -> None:
    """A token that is newer than the kept answer passes it over, though the projection has not followed yet."""
    for text in ("two", "three", "four"):
        await board.request("GET", "/api/notes/note")
        done = await board.request("POST", "/api/notes/note", json={"text": text})
        token = {"Colonnade-Token": done.headers["colonnade-token"]}
        assert (await board.request("GET", "/api/notes/note", headers=token)).json() == text
        before = answered["NoteText"]
        assert (await board.request("GET", "/api/notes/note", headers=token)).json() == text
        await board.settled()
        assert answered["NoteText"] <= before + 1


async def test_a_table_without_events_ends_what_was_made_from_it(board: RunningSystem) -> None:
    """Before a command that wrote such a table is answered, the old answer is gone."""
    assert (await board.request("GET", "/api/notes/shelves/1")).json() == ""
    for label in ("tea", "flour"):
        await board.request("POST", "/api/notes/shelves/1", json={"label": label})
        assert (await board.request("GET", "/api/notes/shelves/1")).json() == label


async def test_parameters_are_kept_apart(board: RunningSystem) -> None:
    """Another question has another answer."""
    await board.request("POST", "/api/notes/shelves/1", json={"label": "tea"})
    await board.request("POST", "/api/notes/shelves/2", json={"label": "flour"})
    assert [(await board.request("GET", f"/api/notes/shelves/{id}")).json() for id in (1, 2, 1)] == [
        "tea", "flour", "tea",
    ]  # fmt: skip


async def test_refusals_are_not_kept(tmp_path: Path) -> None:
    """A problem says no-store, and the next who asks is answered anew."""
    async with running_system(pinboard, tmp_path) as board:
        for _ in range(2):
            answered.clear()
            answer = await board.request("GET", "/api/notes/note")
            assert (answer.status, answer.headers["cache-control"]) == (404, "no-store")
            assert answered["NoteText"] == 1


async def test_a_caller_who_has_the_page_gets_304(board: RunningSystem) -> None:
    """If-None-Match with the page's ETag, alone, weak or among others, is answered without a body."""
    page = await board.request("GET", "/api/notes/note")
    etag = page.headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await board.request("GET", "/api/notes/note", headers={"If-None-Match": known})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
        assert again.headers["cache-control"] == page.headers["cache-control"]
        assert "content-length" not in again.headers
    await board.request("POST", "/api/notes/note", json={"text": "two"})
    await board.settled()
    fresh = await board.request("GET", "/api/notes/note", headers={"If-None-Match": etag})
    assert (fresh.status, fresh.json()) == (200, "two")
    assert fresh.headers["etag"] != etag


async def test_headers_say_who_may_keep_what(board: RunningSystem) -> None:
    """Private ones are for the caller alone, public ones for all who have seen as much, others for nobody."""
    private = (await board.request("GET", "/api/notes/note")).headers
    assert private["cache-control"] == "private, max-age=60, stale-while-revalidate=30"
    assert private["vary"] == "authorization, cookie, colonnade-token"
    public = (await board.request("GET", "/api/notes/note/public")).headers
    assert (public["cache-control"], public["vary"]) == ("public, max-age=60", "colonnade-token")
    assert "surrogate-key" not in public
    nobody = (await board.request("GET", "/api/notes/note/anew")).headers
    assert nobody["cache-control"] == "no-store"
    assert "etag" not in nobody


async def test_a_head_request_says_the_same(board: RunningSystem) -> None:
    """HEAD has the headers of GET, without its body."""
    got = await board.request("GET", "/api/notes/note")
    head = await board.request("HEAD", "/api/notes/note")
    assert (head.body, head.headers["etag"]) == (b"", got.headers["etag"])
    assert head.headers["content-length"] == str(len(got.body))


@pytest.mark.parametrize(("seconds", "stale"), [(0, 0), (-1, 0), (1e9, 0), (float("nan"), 0), (1, -1)])
def test_an_impossible_time_is_refused_where_it_is_written(seconds: float, stale: float) -> None:
    """A cache keeps for more than nothing and less than a day."""
    with pytest.raises(InvalidCache, match="choose"):
        Cache(seconds, stale_seconds=stale)


async def test_a_change_that_nobody_told_is_made_good_when_the_service_starts(tmp_path: Path) -> None:
    """An answer that outlived its process is not given when another one changed its tables and died at once."""
    kept, unaware = (QueryCache(MemoryCache(_WORLD.clock), _WORLD) for _ in range(2))
    async with running_system(pinboard, tmp_path, engines=engines_with(kept, tmp_path)) as board:
        await board.request("POST", "/api/notes/note", json={"text": "one"})
        await board.request("POST", "/api/notes/shelves/1", json={"label": "tea"})
        await board.settled()
        assert (await board.request("GET", "/api/notes/note")).json() == "one"
        assert (await board.request("GET", "/api/notes/shelves/1")).json() == "tea"
    async with running_system(pinboard, tmp_path, engines=engines_with(unaware, tmp_path)) as board:
        await board.request("POST", "/api/notes/note", json={"text": "two"})
        await board.request("POST", "/api/notes/shelves/1", json={"label": "flour"})
        await board.settled()
    async with running_system(pinboard, tmp_path, engines=engines_with(kept, tmp_path)) as board:
        assert (await board.request("GET", "/api/notes/note")).json() == "two"
        assert (await board.request("GET", "/api/notes/shelves/1")).json() == "flour"


async def test_a_caller_who_goes_away_ends_what_was_kept_all_the_same(board: RunningSystem) -> None:
    """A command whose caller leaves while it is committed ends what was kept before it, a moment later."""
    await board.request("POST", "/api/notes/shelves/1", json={"label": "tea"})
    assert (await board.request("GET", "/api/notes/shelves/1")).json() == "tea"
    leaving = asyncio.create_task(board.request("POST", "/api/notes/shelves/1", json={"label": "flour"}))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert leaving.cancelled()
    async with asyncio.timeout(10):
        while (await board.request("GET", "/api/notes/shelves/1")).json() != "flour":
            await _WORLD.sleep(0.001)


def test_the_openapi_document_tells_of_it() -> None:
    """Endpoints that keep answers take If-None-Match and may answer 304; others do not."""
    (service,) = pinboard.services
    assert service.api is not None
    answers = {endpoint.message: str for endpoint in service.api.endpoints}
    paths = openapi_document("notes", "1", service.api, answers, "/api/notes")["paths"]
    kept, anew = paths["/api/notes/note"]["get"], paths["/api/notes/note/anew"]["get"]
    takes = {"$ref": "#/components/parameters/IfNoneMatch"}
    assert (takes in kept["parameters"], "304" in kept["responses"]) == (True, True)
    assert (takes in anew["parameters"], "304" in anew["responses"]) == (False, False)

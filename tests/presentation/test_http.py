"""What a client of a service meets over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from starlette.types import Message

from colonnade.testing import HttpAnswer, RunningSystem, running_system
from colonnade.testing.http import request

from .library import library

BOOKS = "/api/lending/books"
DEEP = b"[" * 50_000 + b"]" * 50_000


@pytest_asyncio.fixture
async def system(tmp_path: Path) -> AsyncIterator[RunningSystem]:
    """A library that runs."""
    async with running_system(library, tmp_path) as running:
        yield running


def assert_problem(answer: HttpAnswer, status: int, code: str) -> None:
    """The answer is a problem document of this status and kind."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["type"] == f"urn:problem:{code}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]


async def add_book(system: RunningSystem, **headers: str) -> HttpAnswer:
    """The answer to a request that adds a book."""
    return await system.request("POST", BOOKS, json={"title": "Emma"}, headers=headers)


async def test_what_is_created_has_a_place(system: RunningSystem) -> None:
    """A POST that creates answers 201 with the id and a Location that answers."""
    answer = await add_book(system)
    assert answer.status == 201
    assert answer.headers["location"] == f"{BOOKS}/{answer.json()['id']}"
    assert (await system.request("GET", answer.headers["location"])).status == 200


async def test_a_command_without_answer_is_204(system: RunningSystem) -> None:
    """A command that answers None has no body, nor a length of one."""
    book = (await add_book(system)).json()["id"]
    answer = await system.request("POST", f"{BOOKS}/{book}/lending", json={"reader": "Anne"})
    assert (answer.status, answer.body) == (204, b"")
    assert "content-length" not in answer.headers


async def test_a_command_with_an_answer_is_200(system: RunningSystem) -> None:
    """What it answers is the body; nothing was created, so there is no Location."""
    answer = await system.request("POST", "/api/lending/stocktaking", json={"copies": []})
    assert (answer.status, answer.json()) == (200, 0)
    assert "location" not in answer.headers


async def test_refusals_are_problems_with_their_fields(system: RunningSystem) -> None:
    """A refusal's kind is the status, its service and class the type, its fields extension members."""
    book = (await add_book(system)).json()["id"]
    lend = f"{BOOKS}/{book}/lending"
    await system.request("POST", lend, json={"reader": "Anne"})
    again = await system.request("POST", lend, json={"reader": "Jane"})
    assert_problem(again, 409, "lending.AlreadyLent")
    assert again.json()["reader"] == "Anne"
    assert again.json()["title"] == "A book is lent to one reader at a time."
    assert_problem(await system.request("POST", BOOKS, json={"title": ""}), 422, "lending.NoTitle")
    missing = await system.request("POST", f"{BOOKS}/{uuid4()}/lending", json={"reader": "Jane"})
    assert_problem(missing, 404, "lending.AggregateNotFound")
    other = (await add_book(system)).json()["id"]
    forbidden = await system.request("POST", f"{BOOKS}/{other}/lending", json={"reader": "nobody"})
    assert_problem(forbidden, 403, "lending.NotAReader")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "colonnade.MalformedJson"),
        (b"", 400, "colonnade.MalformedJson"),
        (b'{"title": "\xff"}', 400, "colonnade.NotUtf8"),
        (b'{"title": "Emma", "copies": [{"x": %s}]}' % DEEP, 400, "colonnade.BodyTooDeep"),
        (b"[]", 422, "colonnade.InvalidRequest"),
        (b"{}", 422, "colonnade.InvalidRequest"),
        (b'{"title": 3}', 422, "colonnade.InvalidRequest"),
        (b'{"title": "Emma", "author": "Austen"}', 422, "colonnade.InvalidRequest"),
        (b'{"title": "Emma", "copies": [{"shelf": 0, "fee": {"amount": "1"}}]}', 422, "colonnade.InvalidRequest"),
        (b'{"title": "Emma", "copies": [{"shelf": 1, "fee": {"amount": "NaN"}}]}', 422, "colonnade.InvalidRequest"),
    ],
)
async def test_bad_bodies_are_told_apart(system: RunningSystem, body: bytes, status: int, code: str) -> None:
    """Each way of being wrong has a problem of its own."""
    answer = await request(
        system.runtime.gateway, "POST", BOOKS, body=body, headers={"content-type": "application/json"}
    )
    assert_problem(answer, status, code)


async def test_unknown_fields_are_refused_at_every_depth(system: RunningSystem) -> None:
    """A misspelt field deep in the body is named with its place."""
    copies = [{"shelf": 1, "fee": {"amount": "1.00", "currency": "EUR"}}]
    answer = await system.request("POST", BOOKS, json={"title": "Emma", "copies": copies})
    assert_problem(answer, 422, "colonnade.InvalidRequest")
    assert answer.json()["pointer"] == "$.copies[0].fee"
    assert "currency" in answer.json()["detail"]


async def test_a_name_of_the_path_is_no_field_of_the_body(system: RunningSystem) -> None:
    """What the path says cannot be said again, differently, in the body."""
    book = (await add_book(system)).json()["id"]
    answer = await system.request("POST", f"{BOOKS}/{book}/lending", json={"reader": "Anne", "book_id": str(uuid4())})
    assert_problem(answer, 422, "colonnade.InvalidRequest")


async def test_a_malformed_id_in_the_path_is_named(system: RunningSystem) -> None:
    """The problem says which part of the path is no id."""
    answer = await system.request("GET", f"{BOOKS}/emma")
    assert_problem(answer, 422, "colonnade.MalformedPath")
    assert answer.json()["parameter"] == "book_id"


async def test_a_wrong_content_type_is_415(system: RunningSystem) -> None:
    """A body that is not JSON by its own word is not read."""
    answer = await request(
        system.runtime.gateway, "POST", BOOKS, body=b"title=Emma", headers={"content-type": "text/plain"}
    )
    assert_problem(answer, 415, "colonnade.UnsupportedMediaType")


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_413(system: RunningSystem, declared: bool) -> None:
    """Ten megabytes are refused by their stated length, or as soon as too much of them has come."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b"x" * 65_536

    headers = {"content-type": "application/json"}
    body = b"x" * (10 * 1024 * 1024) if declared else chunks()
    answer = await request(system.runtime.gateway, "POST", BOOKS, body=body, headers=headers)
    assert_problem(answer, 413, "colonnade.BodyTooLarge")
    assert answer.headers["connection"] == "close"


async def test_routes_and_methods_that_do_not_exist(system: RunningSystem) -> None:
    """An unknown route is 404, an unknown service too, a wrong method 405 with those that are allowed."""
    assert_problem(await system.request("GET", "/api/lending/nothing"), 404, "colonnade.UnknownRoute")
    assert_problem(await system.request("GET", "/api/borrowing/books"), 404, "colonnade.UnknownRoute")
    assert_problem(await system.request("GET", "/"), 404, "colonnade.UnknownRoute")
    wrong = await system.request("DELETE", BOOKS)
    assert_problem(wrong, 405, "colonnade.MethodNotAllowed")
    assert wrong.headers["allow"] == "GET, HEAD, POST"


async def test_head_is_get_without_the_body(system: RunningSystem) -> None:
    """HEAD answers with the headers of GET."""
    got, headed = [await system.request(method, BOOKS) for method in ("GET", "HEAD")]
    assert headed.status == 200
    assert headed.body == b""
    assert headed.headers["content-length"] == str(len(got.body))


async def test_query_parameters_have_types(system: RunningSystem) -> None:
    """Parameters are converted, empty ones are absent, unknown, repeated and bad ones are refused by name."""
    assert (await system.request("GET", f"{BOOKS}?search=a%20b&limit=5&lent=true")).json()["items"] == [
        "a b",
        "5",
        "True",
    ]
    assert (await system.request("GET", f"{BOOKS}?search=&limit=")).json()["items"] == ["", "20", "False"]
    assert_problem(await system.request("GET", f"{BOOKS}?author=x"), 422, "colonnade.UnknownParameter")
    assert_problem(await system.request("GET", f"{BOOKS}?limit=1&limit=2"), 422, "colonnade.RepeatedParameter")
    assert_problem(await system.request("GET", f"{BOOKS}?limit=101"), 422, "colonnade.InvalidRequest")
    assert_problem(await system.request("GET", f"{BOOKS}?limit=ten"), 422, "colonnade.InvalidRequest")
    assert_problem(await system.request("GET", f"{BOOKS}?search=%ff"), 400, "colonnade.MalformedQuery")


async def test_an_idempotency_key_has_one_effect_and_one_answer(system: RunningSystem) -> None:
    """The same request again is answered from memory; refusals are remembered as well."""
    first = await add_book(system, **{"Idempotency-Key": "k1"})
    again = await add_book(system, **{"Idempotency-Key": "k1"})
    assert (again.status, again.body, again.headers["location"]) == (
        first.status,
        first.body,
        first.headers["location"],
    )
    assert again.headers["idempotency-replayed"] == "true"
    # Whose first answer was lost reads its write as well
    assert again.headers["colonnade-token"] == first.headers["colonnade-token"]
    headers = {"Idempotency-Key": "k2"}
    refused = [await system.request("POST", BOOKS, json={"title": ""}, headers=headers) for _ in range(2)]
    assert refused[0].body == refused[1].body
    assert_problem(refused[1], 422, "lending.NoTitle")
    assert await system.runtime.services["lending"].store.log.end() == 1


async def test_concurrent_duplicates_get_the_winners_answer(system: RunningSystem) -> None:
    """Of many equal requests at once one is carried out, and all get its answer."""
    answers = await asyncio.gather(*(add_book(system, **{"Idempotency-Key": "k"}) for _ in range(16)))
    assert len({answer.body for answer in answers}) == 1
    assert await system.runtime.services["lending"].store.log.end() == 1


async def test_a_key_cannot_be_used_for_another_body(system: RunningSystem) -> None:
    """The same key with another body is refused, and so is a key that is none."""
    headers = {"Idempotency-Key": "k"}
    await system.request("POST", BOOKS, json={"title": "Emma"}, headers=headers)
    other = await system.request("POST", BOOKS, json={"title": "Persuasion"}, headers=headers)
    assert_problem(other, 422, "colonnade.IdempotencyKeyReused")
    bad = await add_book(system, **{"Idempotency-Key": "x" * 256})
    assert_problem(bad, 400, "colonnade.MalformedIdempotencyKey")


async def test_an_unexpected_failure_tells_nothing_of_the_inside(system: RunningSystem) -> None:
    """A failure is 500 with the correlation id to look for, and no word of what is inside."""
    answer = await system.request("POST", "/api/lending/crash")
    assert_problem(answer, 500, "colonnade.InternalError")
    assert "secret" not in answer.body.decode()
    assert answer.headers["x-correlation-id"] in answer.json()["detail"]


async def test_a_correlation_id_is_taken_over_or_made(system: RunningSystem) -> None:
    """A valid id comes back and is recorded with the events; a malformed one is replaced."""
    mine = str(uuid4())
    answer = await add_book(system, **{"X-Correlation-ID": mine})
    assert answer.headers["x-correlation-id"] == mine
    (event,) = await system.runtime.services["lending"].store.log.read()
    assert str(event.correlation_id) == mine
    other = await add_book(system, **{"X-Correlation-ID": "x\r\ny"})
    assert UUID(other.headers["x-correlation-id"])


@pytest.mark.parametrize("seconds", ["soon", "", "-1", "0", "nan", "inf", "1e999"])
async def test_a_deadline_that_is_none_changes_nothing(system: RunningSystem, seconds: str) -> None:
    """The usual one holds, or the longest."""
    assert (await add_book(system, **{"X-Request-Timeout": seconds})).status == 201


async def test_a_client_that_goes_away_before_its_body_is_there_does_nothing(system: RunningSystem) -> None:
    """Half a body is never taken for a whole one."""
    sent: list[Message] = []
    incoming: Iterator[Message] = iter(
        [{"type": "http.request", "body": b'{"title": "Emma"}', "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> Message:
        return next(incoming)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": BOOKS,
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await system.runtime.gateway(scope, receive, send)
    assert sent[0]["status"] == 400
    assert b"colonnade.Disconnected" in sent[1]["body"]
    assert await system.runtime.services["lending"].store.log.end() == 0


async def test_a_passed_deadline_is_504(system: RunningSystem) -> None:
    """Who waits for a microsecond only gets no answer but that."""
    answer = await add_book(system, **{"X-Request-Timeout": "0.000001"})
    assert_problem(answer, 504, "colonnade.DeadlinePassed")


async def test_consistency_tokens(system: RunningSystem) -> None:
    """A POST answers with a token; a query takes it, takes no notice of another service's, and refuses nonsense."""
    token = (await add_book(system)).headers["colonnade-token"]
    assert (await system.request("GET", BOOKS, headers={"Colonnade-Token": token})).status == 200
    other = token.replace("lending", "borrowing")
    assert (await system.request("GET", BOOKS, headers={"Colonnade-Token": other})).status == 200
    bad = await system.request("GET", BOOKS, headers={"Colonnade-Token": "42"})
    assert_problem(bad, 400, "colonnade.MalformedToken")


async def test_any_asgi_application_can_stand_beside_the_table(system: RunningSystem) -> None:
    """A mounted application answers under its prefix, and only there."""
    assert (await system.request("GET", "/api/lending/plain/x")).body == b"as it is"
    assert_problem(await system.request("GET", "/api/lending/plainly"), 404, "colonnade.UnknownRoute")


async def test_health_is_told_by_probe(system: RunningSystem) -> None:
    """Each probe of the system and of each service answers with the states that stand."""
    for place in ("", "/api/lending"):
        live = await system.request("GET", f"{place}/health/live")
        assert live.status == 200
        assert live.json()["states"] == []
        assert (await system.request("GET", f"{place}/health/ready")).status in (200, 503)
        assert (await system.request("GET", f"{place}/health/startup")).status in (200, 503)
    assert_problem(await system.request("GET", "/health/other"), 404, "colonnade.UnknownRoute")

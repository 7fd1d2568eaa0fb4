"""What a merchant may rely on, whatever happens to an answer."""

import asyncio
from typing import Any

import aiohttp
import pytest
from grocer.tests.processor.merchant import Merchant

CHARGE = {"amount": "12.34", "currency": "USD", "card": "tok_ok", "reference": "order-1"}


async def test_a_charge_is_recorded_and_answered(merchant: Merchant) -> None:
    """201 with the charge as it stands, which a query by its key finds again."""
    answer = await merchant.charge("key-1")
    assert (answer.status, answer.content_type) == (201, "application/json")
    assert answer.body == {**CHARGE, "position": 1, "key": "key-1", "status": "succeeded", "refunded": "0.00"}
    found = await merchant.find("key-1")
    assert (found.status, found.body) == (200, answer.body)


async def test_a_key_replays_its_answer(merchant: Merchant) -> None:
    """However often a charge is sent, it is made once and answered alike."""
    answers = [await merchant.charge("key-1") for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len((await merchant.ask("GET", "/charges")).body["charges"]) == 1


async def test_concurrent_duplicates_charge_once(merchant: Merchant) -> None:
    """Of fifty at once with one key all get the one charge; fifty other keys are fifty charges."""
    alike = await asyncio.gather(*(merchant.charge("key-1") for _ in range(50)))
    assert all(answer == alike[0] for answer in alike)
    others = await asyncio.gather(*(merchant.charge(f"other-{number}") for number in range(50)))
    assert sorted(answer.body["position"] for answer in (alike[0], *others)) == list(range(1, 52))


@pytest.mark.parametrize("changed", [{"amount": "12.35"}, {"card": "tok_slow"}, {"reference": "order-2"}])
async def test_a_key_with_another_body_is_refused(merchant: Merchant, changed: dict[str, str]) -> None:
    """A key belongs to one request; the charge that it made stays as it is."""
    await merchant.charge("key-1")
    answer = await merchant.ask("POST", "/charges", key="key-1", json={**CHARGE, **changed})
    assert (answer.status, answer.content_type) == (422, "application/problem+json")
    assert answer.body["type"] == "KeyReused"
    assert "use a new key" in answer.body["detail"]
    assert (await merchant.find("key-1")).body["amount"] == "12.34"


async def test_a_declined_card_is_declined_for_good(merchant: Merchant) -> None:
    """402, the same at every attempt, and recorded as declined."""
    answers = [await merchant.charge("key-1", "tok_declined") for _ in range(2)]
    assert answers[0] == answers[1]
    assert (answers[0].status, answers[0].body["status"]) == (402, "declined")
    assert (await merchant.find("key-1")).body["status"] == "declined"


async def test_a_lost_answer_belongs_to_a_charge_that_was_made(merchant: Merchant) -> None:
    """The connection breaks, yet the query finds the charge, and the next attempt gets its answer."""
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await merchant.charge("key-1", "tok_lost")
    assert (await merchant.find("key-1")).body["status"] == "succeeded"
    assert (await merchant.charge("key-1", "tok_lost")).status == 201
    assert len((await merchant.ask("GET", "/charges")).body["charges"]) == 1


async def test_a_time_out_charges_nothing_until_it_is_tried_again(merchant: Merchant) -> None:
    """The first request is never answered and leaves no charge; the next one with that key is served."""
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await merchant.charge("key-1", "tok_timeout")
    assert (await merchant.find("key-1")).status == 404
    assert (await merchant.charge("key-1", "tok_timeout")).status == 201
    assert (await merchant.charge("key-1", "tok_timeout")).status == 201
    assert len((await merchant.ask("GET", "/charges")).body["charges"]) == 1


async def test_a_slow_charge_is_made_before_it_is_answered(merchant: Merchant) -> None:
    """Whoever does not wait finds the charge by its key; who waits gets the answer."""
    waiting = asyncio.create_task(merchant.charge("key-1", "tok_slow"))
    async with asyncio.timeout(20):
        while (found := await merchant.find("key-1")).status == 404:
            continue  # each look is a request, and takes its time
    assert not waiting.done()
    assert found.body["status"] == "succeeded"
    assert (await waiting).status == 201


async def test_an_unknown_charge_is_told_so(merchant: Merchant) -> None:
    """404 means: nothing was charged under that key."""
    answer = await merchant.find("run/41366246803")
    assert (answer.status, answer.body["type"]) == (404, "UnknownCharge")
    assert "run/41366246803: nothing was charged" in answer.body["detail"]


async def test_a_refund_is_made_once_and_shown_in_the_charge(merchant: Merchant) -> None:
    """A refund's key replays its answer as a charge's does, and what was given back is in the charge."""
    await merchant.charge("key-1")
    answers = [await merchant.refund("back-1", "key-1", "2.34") for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0].status == 201
    assert answers[0].body == {"position": 1, "key": "back-1", "charge": "key-1", "amount": "2.34"}
    assert (await merchant.find("key-1")).body["refunded"] == "2.34"
    assert (await merchant.refund("back-2", "key-1", "10.00")).status == 201
    assert (await merchant.find("key-1")).body["refunded"] == "12.34"


async def test_no_more_is_given_back_than_was_taken(merchant: Merchant) -> None:
    """Not in one refund, not in several, not at once."""
    await merchant.charge("key-1")
    answers = await asyncio.gather(*(merchant.refund(f"back-{number}", "key-1", "6.00") for number in range(5)))
    assert sorted(answer.status for answer in answers) == [201, 201, 409, 409, 409]
    refused = next(answer for answer in answers if answer.status == 409)
    assert refused.body["type"] == "AlreadyRefunded"
    assert "0.34 is left" in refused.body["detail"]
    assert (await merchant.find("key-1")).body["refunded"] == "12.00"


async def test_a_refund_of_nothing_is_refused(merchant: Merchant) -> None:
    """Neither an unknown nor a declined charge can be given back, nor a key be used for two refunds."""
    await merchant.charge("declined", "tok_declined")
    await merchant.charge("key-1")
    await merchant.refund("back-1", "key-1", "1.00")
    for answer, status, code in (
        (await merchant.refund("back-2", "nowhere"), 404, "UnknownCharge"),
        (await merchant.refund("back-2", "declined"), 409, "ChargeDeclined"),
        (await merchant.refund("back-1", "key-1", "2.00"), 422, "KeyReused"),
    ):
        assert (answer.status, answer.body["type"]) == (status, code)
    assert (await merchant.find("key-1")).body["refunded"] == "1.00"


async def test_the_ledger_is_listed_in_pages(merchant: Merchant) -> None:
    """Every charge is on one page, in the order in which it was made, and the last page says that it is."""
    for number in range(5):
        await merchant.charge(f"key-{number}", "tok_declined" if number == 3 else "tok_ok")
    keys: list[str] = []
    after: int | None = 0
    pages = 0
    while after is not None:
        page = (await merchant.ask("GET", f"/charges?after={after}&limit=2")).body
        keys += [charge["key"] for charge in page["charges"]]
        after = page["next"]
        pages += 1
    assert keys == [f"key-{number}" for number in range(5)]
    assert pages == 3


async def test_an_empty_ledger_has_one_empty_page(merchant: Merchant) -> None:
    """There is nothing, and nothing behind it."""
    assert (await merchant.ask("GET", "/charges")).body == {"charges": [], "next": None}


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=1001", "limit=", "after=99999999999999999999"])
async def test_a_page_that_cannot_be_is_refused(merchant: Merchant, query: str) -> None:
    """400, naming the parameter and what it may be."""
    answer = await merchant.ask("GET", f"/charges?{query}")
    assert (answer.status, answer.body["type"]) == (400, "Invalid")
    assert query.partition("=")[0] in answer.body["detail"]


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"json": CHARGE, "key": None}, 400, "BadIdempotencyKey"),
        ({"json": CHARGE, "key": "a key"}, 400, "BadIdempotencyKey"),
        ({"json": CHARGE, "key": "k" * 256}, 400, "BadIdempotencyKey"),
        ({"data": "amount=1"}, 415, "UnsupportedMediaType"),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "Malformed"),
        ({"data": b'{"amount": "\xff"}', "headers": {"Content-Type": "application/json"}}, 400, "Malformed"),
        ({"data": b" " * 20_000, "headers": {"Content-Type": "application/json"}}, 413, "RequestEntityTooLarge"),
        ({"json": {"amount": "1.00"}}, 422, "Invalid"),
        ({"json": {**CHARGE, "tip": "1.00"}}, 422, "Invalid"),
        ({"json": {**CHARGE, "amount": 12.34}}, 422, "Invalid"),
        ({"json": {**CHARGE, "amount": "0.00"}}, 422, "Invalid"),
        ({"json": {**CHARGE, "amount": "-1.00"}}, 422, "Invalid"),
        ({"json": {**CHARGE, "amount": "1.005"}}, 422, "Invalid"),
        ({"json": {**CHARGE, "amount": "01.00"}}, 422, "Invalid"),
        ({"json": {**CHARGE, "amount": "1.00\n"}}, 422, "Invalid"),
        ({"json": {**CHARGE, "currency": "usd"}}, 422, "Invalid"),
        ({"json": {**CHARGE, "card": "4111 1111"}}, 422, "Invalid"),
        ({"json": {**CHARGE, "reference": ""}}, 422, "Invalid"),
    ],
)
async def test_a_bad_request_is_a_problem_document_and_charges_nothing(
    merchant: Merchant, sent: dict[str, Any], status: int, code: str
) -> None:
    """Each way to ask wrongly has its own clear answer."""
    answer = await merchant.ask("POST", "/charges", **{"key": "key-1", **sent})
    assert (answer.status, answer.content_type, answer.body["type"]) == (status, "application/problem+json", code)
    assert answer.body["status"] == status
    assert answer.body["title"]
    assert answer.body["detail"]
    assert (await merchant.ask("GET", "/charges")).body["charges"] == []


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("DELETE", "/charges", 405)])
async def test_a_wrong_route_is_a_problem_document(merchant: Merchant, method: str, path: str, status: int) -> None:
    """Also what the router refuses is told as everything else."""
    answer = await merchant.ask(method, path)
    assert (answer.status, answer.content_type) == (status, "application/problem+json")


async def test_it_says_that_it_is_well(merchant: Merchant) -> None:
    """GET /health answers when the ledger can be read."""
    answer = await merchant.ask("GET", "/health")
    assert (answer.status, answer.body) == (200, {"status": "up"})

"""Grocer through its gateway: what it answers, and how it refuses."""

import re
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from colonnade.testing import RunningSystem, running_system
from colonnade.testing.http import HttpAnswer, request

from grocer.ordering.application.orders import PlaceOrder
from grocer.processor.fates import DEFAULT_RATES, Fate, Fates
from grocer.shop.day import load_day
from grocer.shop.opening import SEED
from grocer.system import grocer

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNKNOWN = 999_999_999
ABSENT = "00000000-0000-0000-0000-0000000000ff"
PROCESSOR_SEED = 0
ORDERS = "/api/ordering/orders"

_day = load_day()
_stock = _day.opening_stock(SEED)
(STORE, MILK), PRICE = next(
    (shelf, price.amount)
    for shelf, price in sorted(_day.prices.items())
    if 4 <= _stock[shelf] <= 100 and price.amount % Decimal("0.01") == 0
)


def customer(fate: Fate, total: Decimal, skip: int = 0) -> str:
    """A customer whose card meets this fate when it is charged `total`."""
    fates = Fates(PROCESSOR_SEED, DEFAULT_RATES)
    found = (id for id in range(1, 100_000) if fates.of(f"card-{id}", f"{total:.2f}") is fate)
    for _ in range(skip):
        next(found)
    return str(UUID(int=next(found)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningSystem]:
    """Grocer with its opening stock, and the folder of its data."""
    data = tmp_path_factory.mktemp("grocer")
    async with running_system(grocer, data) as running:
        running.data = data  # type: ignore[attr-defined]
        await running.settled()  # the opening stock is in the read models then
        yield running


async def get(system: RunningSystem, path: str) -> Any:
    """The JSON of a GET that is answered with 200."""
    answer = await system.request("GET", path)
    assert answer.status == 200, answer.body
    return answer.json()


async def place(system: RunningSystem, customer_id: str, quantity: int = 1) -> str:
    """The id of an order of milk that was accepted."""
    body = {"customer_id": customer_id, "store_id": STORE, "lines": [{"product_id": MILK, "quantity": quantity}]}
    answer = await system.request("POST", ORDERS, json=body)
    assert answer.status == 201, answer.body
    assert answer.headers["location"] == f"{ORDERS}/{answer.json()['id']}"
    return str(answer.json()["id"])


def refused(answer: HttpAnswer, status: int, kind: str, *named: str) -> dict[str, Any]:
    """The problem document of a refusal, that names the thing."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["type"] == f"urn:problem:{kind}"
    assert problem["status"] == status
    assert problem["title"]
    assert all(name in problem["detail"] for name in named), problem["detail"]
    return problem


def order(**changes: Any) -> dict[str, Any]:
    """The body of an order, with something changed."""
    lines = [{"product_id": MILK, "quantity": 1}]
    return {"customer_id": str(UUID(int=7)), "store_id": STORE, "lines": lines} | changes


def lines(product_id: object = MILK, quantity: object = 1) -> list[dict[str, object]]:
    """One line of an order."""
    return [{"product_id": product_id, "quantity": quantity}]


@pytest.mark.parametrize(
    ("body", "status", "kind", "named"),
    [
        pytest.param(order(lines=lines(UNKNOWN)), 404, "catalog.UnknownProduct", str(UNKNOWN), id="unknown product"),
        pytest.param(order(store_id=UNKNOWN), 404, "catalog.UnknownStore", str(UNKNOWN), id="unknown store"),
        pytest.param(order(lines=[]), 422, "ordering.EmptyOrder", "", id="empty order"),
        pytest.param(order(lines=lines() * 2), 422, "ordering.ProductNamedTwice", str(MILK), id="product twice"),
    ],
)
async def test_an_order_that_breaks_a_rule_is_refused_by_its_name(
    system: RunningSystem, body: dict[str, Any], status: int, kind: str, named: str
) -> None:
    """The problem is the refusal's own, from the service that refuses, and names what is wrong."""
    refused(await system.request("POST", ORDERS, json=body), status, kind, named)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        pytest.param(order(lines=lines(quantity=0)), "lines[0].quantity", id="quantity zero"),
        pytest.param(order(lines=lines(quantity=-1)), "lines[0].quantity", id="quantity below zero"),
        pytest.param(order(lines=lines(quantity=1.5)), "lines[0].quantity", id="half a piece"),
        pytest.param(order(customer_id="me"), "customer_id", id="malformed customer"),
        pytest.param(order(lines=[{"product_id": MILK}]), "quantity", id="missing field"),
        pytest.param(order(coupon="x"), "coupon", id="unknown field"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused_with_the_place(
    system: RunningSystem, body: dict[str, Any], path: str
) -> None:
    """The detail says where in the body."""
    answer = await system.request("POST", ORDERS, json=body)
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert path in answer.json()["detail"]


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("method", "target", "options", "status", "kind"),
    [
        pytest.param("POST", ORDERS, {"body": b" " * 10_000_000, "headers": JSON}, 413, "BodyTooLarge", id="10 MB"),
        pytest.param("POST", ORDERS, {"body": b"{milk}", "headers": JSON}, 400, "MalformedJson", id="not JSON"),
        pytest.param("POST", ORDERS, {"body": b'{"a":"\xff"}', "headers": JSON}, 400, "NotUtf8", id="not UTF-8"),
        pytest.param(
            "POST", ORDERS, {"body": b"a=b", "headers": {"content-type": "text/plain"}}, 415, "UnsupportedMediaType",
            id="wrong content type",
        ),
        pytest.param("DELETE", ORDERS, {}, 405, "MethodNotAllowed", id="wrong method"),
        pytest.param("GET", "/api/ordering/nothing", {}, 404, "UnknownRoute", id="unknown route"),
        pytest.param("GET", "/api/cellar/wine", {}, 404, "UnknownRoute", id="unknown service"),
        pytest.param("GET", f"{ORDERS}/me", {}, 422, None, id="malformed id"),
        pytest.param("GET", f"{ORDERS}?customer_id=me", {}, 422, None, id="malformed query"),
        pytest.param("GET", "/api/catalog/products?after=x", {}, None, None, id="malformed cursor"),
        pytest.param("GET", "/api/catalog/products?limit=0", {}, 422, None, id="page of nothing"),
    ],
)  # fmt: skip
async def test_a_request_that_is_none_is_refused(
    system: RunningSystem, method: str, target: str, options: dict[str, Any], status: int | None, kind: str | None
) -> None:
    """Each by a problem document of its own, before any handler sees it."""
    answer = await request(system.runtime.gateway, method, target, **options)
    assert answer.status == status or (status is None and 400 <= answer.status < 500), answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert kind is None or problem["type"] == f"urn:problem:colonnade.{kind}"
    assert problem["detail"]
    if answer.status == 405:
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (f"{ORDERS}/{ABSENT}", "ordering.UnknownOrder"),
        (f"/api/catalog/products/{UNKNOWN}", "catalog.UnknownProduct"),
        (f"/api/inventory/stores/{STORE}/stock/{UNKNOWN}", "inventory.NeverStocked"),
    ],
)
async def test_what_is_not_there_is_said_by_name(system: RunningSystem, target: str, kind: str) -> None:
    """404, with the refusal of the service that looked."""
    refused(await system.request("GET", target), 404, kind, target.rpartition("/")[2])


async def test_the_catalog_is_walked_page_by_page(system: RunningSystem) -> None:
    """Every product once, in order, and those of a search have all of its words."""
    seen: list[int] = []
    after = ""
    while True:
        page = await get(system, f"/api/catalog/products?limit=100{after}")
        seen += [product["product_id"] for product in page["items"]]
        if page.get("next") is None:
            break
        after = f"&after={page['next']}"
    assert seen == sorted(product.product_id for product in _day.products)
    found = (await get(system, "/api/catalog/products?search=milk%20white&limit=50"))["items"]
    assert found
    assert all("MILK" in f"{product}".upper() and "WHITE" in f"{product}".upper() for product in found)
    department = found[0]["department"]
    narrowed = await get(system, f"/api/catalog/products?search=milk&department={department.lower()}&limit=5")
    assert {product["department"] for product in narrowed["items"]} == {department}
    assert (await get(system, f"/api/catalog/products/{MILK}"))["product_id"] == MILK


async def settled_order(system: RunningSystem, order_id: str) -> Any:
    """An order once the system has nothing to do any more."""
    await system.settled()
    return await get(system, f"{ORDERS}/{order_id}")


async def stock(system: RunningSystem) -> tuple[int, int, int]:
    """Milk on hand, reserved and sold."""
    level = await get(system, f"/api/inventory/stores/{STORE}/stock/{MILK}")
    assert level["on_hand"] + level["reserved"] + level["sold"] == level["received"]
    return level["on_hand"], level["reserved"], level["sold"]


async def test_an_order_is_fulfilled_paid_shipped_told_and_taken_back(system: RunningSystem) -> None:
    """Confirmed with all that belongs to it; cancelled, everything goes back; cancelled again, it is refused."""
    on_hand, _, sold = await stock(system)
    buyer = customer(Fate.OK, PRICE)
    order_id = await place(system, buyer)
    confirmed = await settled_order(system, order_id)
    assert (confirmed["status"], Decimal(confirmed["total"]["amount"])) == ("confirmed", PRICE)
    assert [each["what"] for each in confirmed["happened"]] == ["pending", "confirmed"]
    assert [(line["product_id"], line["quantity"]) for line in confirmed["lines"]] == [(MILK, 1)]
    assert await stock(system) == (on_hand - 1, 0, sold + 1)
    (payment,) = await get(system, f"/api/payments/payments?order_id={order_id}")
    assert (payment["status"], Decimal(payment["captured"]["amount"])) == ("captured", PRICE)
    (shipment,) = await get(system, f"/api/delivery/shipments?order_id={order_id}")
    assert (shipment["status"], shipment["customer_id"]) == ("booked", buyer)
    listed = await get(system, f"{ORDERS}?customer_id={buyer}")
    assert [each["id"] for each in listed["items"]] == [order_id]

    assert (await system.request("POST", f"{ORDERS}/{order_id}/cancel")).status == 204
    cancelled = await settled_order(system, order_id)
    assert [each["what"] for each in cancelled["happened"]] == ["pending", "confirmed", "cancelled"]
    assert await stock(system) == (on_hand, 0, sold)
    (payment,) = await get(system, f"/api/payments/payments?order_id={order_id}")
    assert (payment["status"], Decimal(payment["refunded"]["amount"])) == ("refunded", PRICE)
    (shipment,) = await get(system, f"/api/delivery/shipments?order_id={order_id}")
    assert shipment["status"] == "cancelled"
    refused(await system.request("POST", f"{ORDERS}/{order_id}/cancel"), 409, "ordering.OrderOver", "cancelled")

    folder: Path = system.data  # type: ignore[attr-defined]
    mails = [text for path in (folder / "mail").glob("*.eml") if order_id in (text := path.read_text())]
    assert sorted(re.findall(rf"Subject: Your order {order_id} is (\w+)", "".join(mails))) == ["cancelled", "confirmed"]


@pytest.mark.parametrize(
    ("buys", "why"),
    [
        pytest.param(lambda: (customer(Fate.DECLINED, PRICE), 1), "CardDeclined", id="card declined"),
        pytest.param(lambda: (customer(Fate.OK, PRICE * 1_000), 1_000), "OutOfStock", id="too few goods"),
    ],
)
async def test_an_order_that_cannot_be_fulfilled_is_rejected_and_undone(
    system: RunningSystem, buys: Callable[[], tuple[str, int]], why: str
) -> None:
    """It says what was in the way; no goods stay set aside, no money is kept, nothing is shipped."""
    before = await stock(system)
    order_id = await place(system, *buys())
    rejected = await settled_order(system, order_id)
    assert rejected["status"] == "rejected"
    assert rejected["reason"]
    (told,) = [
        event
        for event in await system.runtime.services["ordering"].store.log.stream(f"Order/{order_id}")
        if event.name == "ordering.OrderRejected"
    ]
    assert why.encode() in told.data
    assert await stock(system) == before
    for payment in await get(system, f"/api/payments/payments?order_id={order_id}"):
        assert Decimal(payment["captured"]["amount"]) == Decimal(payment["refunded"]["amount"])
    assert await get(system, f"/api/delivery/shipments?order_id={order_id}") == []


async def test_a_charge_whose_answer_was_lost_is_found_and_not_made_again(system: RunningSystem) -> None:
    """Charged, then the connection broke: the payment is looked up by its key, captured once, the order confirmed."""
    order_id = await place(system, customer(Fate.LOST, PRICE))
    assert (await settled_order(system, order_id))["status"] == "confirmed"
    (payment,) = await get(system, f"/api/payments/payments?order_id={order_id}")
    assert Decimal(payment["captured"]["amount"]) == PRICE


async def test_an_order_is_cancelled_before_it_is_confirmed(system: RunningSystem) -> None:
    """Cancelled at once, whatever its fulfilment had done is undone, and it stays cancelled."""
    before = await stock(system)
    order_id = await place(system, customer(Fate.OK, PRICE, skip=3))
    assert (await system.request("POST", f"{ORDERS}/{order_id}/cancel")).status == 204
    cancelled = await settled_order(system, order_id)
    assert cancelled["status"] == "cancelled"
    assert await stock(system) == before
    for payment in await get(system, f"/api/payments/payments?order_id={order_id}"):
        assert Decimal(payment["captured"]["amount"]) == Decimal(payment["refunded"]["amount"])


async def test_examples_of_the_api_are_orders_that_can_be_placed() -> None:
    """What the OpenAPI document shows names products of the day and a store that has them."""
    from grocer.ordering.presentation.api import api

    (example,) = [each.example for each in api.endpoints if isinstance(each.example, PlaceOrder)]
    sold = {(shelf.store_id, shelf.product_id) for shelf in _day.prices}
    assert {(example.store_id, line.product_id) for line in example.lines} <= sold


async def test_product_pages_are_kept_for_all_and_order_histories_for_their_customer(system: RunningSystem) -> None:
    """Pages of the catalog may be kept anywhere, histories by their customer alone, single orders nowhere."""
    for page in ("/api/catalog/products?search=milk", f"/api/catalog/products/{MILK}"):
        first = await system.request("GET", page)
        assert first.headers["cache-control"] == "public, max-age=60, stale-while-revalidate=300"
        again = await system.request("GET", page, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
    history = await system.request("GET", f"{ORDERS}?customer_id={ABSENT}")
    assert history.headers["cache-control"] == "private, max-age=5"
    order = await system.request("GET", f"{ORDERS}/{ABSENT}")
    assert order.headers["cache-control"] == "no-store"


async def test_a_customer_sees_the_new_order_in_a_history_that_was_kept(system: RunningSystem) -> None:
    """The token of the order that was just placed passes the kept history over."""
    who = customer(Fate.OK, PRICE, skip=20)
    history = f"{ORDERS}?customer_id={who}"
    assert (await get(system, history))["items"] == []
    assert (await get(system, history))["items"] == []
    lines = [{"product_id": MILK, "quantity": 1}]
    placed = await system.request("POST", ORDERS, json={"customer_id": who, "store_id": STORE, "lines": lines})
    assert placed.status == 201
    token = {"Colonnade-Token": placed.headers["colonnade-token"]}
    found = await system.request("GET", history, headers=token)
    assert [order["id"] for order in found.json()["items"]] == [placed.json()["id"]]

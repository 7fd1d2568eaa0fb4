"""Customers come when the day says, and order each basket once whatever the network does."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from uuid import UUID

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from colonnade.world import real_world
from rich.console import Console

from grocer.kernel import Money
from grocer.shop.customers import IN_FLIGHT, Visit, follow, play, schedule
from grocer.shop.day import Basket, BasketLine
from grocer.shop.orders import Order, OrdersApi, Outcome, Placed, Problem, Refused, Unanswered, correlation_of
from grocer.shop.report import UNSEEN, report_on
from grocer.shop.screen import bar, tables

WORLD = real_world()


def basket_of(number: int, second: int = 0, *lines: BasketLine) -> Basket:
    """A basket of household `number`."""
    placed_at = datetime(2017, 12, 24, 0, 0, second, tzinfo=UTC)
    return Basket(number, number, 340, placed_at, lines or (BasketLine(10, 2),), ())


@dataclass
class Ordering:
    """A server that answers as ordering does, after the faults that a test has put in front of a basket's answer."""

    faults: dict[str, list[str]] = field(default_factory=dict)
    ends: dict[str, list[str]] = field(default_factory=dict)
    orders: dict[str, UUID] = field(default_factory=dict)
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    correlations: set[str] = field(default_factory=set)
    gate: asyncio.Event | None = None
    crowd: int = 0
    crowded: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""

    async def place(self, request: web.Request) -> web.Response:
        key, body = request.headers["Idempotency-Key"], await request.read()
        self.requests.append((key, body))
        self.correlations.add(request.headers["X-Correlation-ID"])
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.at_once == self.crowd:
            self.crowded.set()
        try:
            if self.gate is not None:
                await self.gate.wait()
            fault = faults.pop(0) if (faults := self.faults.get(key)) else None
            return self.answer(request, key, fault)
        finally:
            self.at_once -= 1

    def answer(self, request: web.Request, key: str, fault: str | None) -> web.Response:
        match fault:
            case "dropped":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case "busy":
                return web.Response(status=503, headers={"Retry-After": "0"})
            case "broken":
                return web.Response(status=500)
            case "empty order":
                return web.Response(
                    status=422,
                    content_type="application/problem+json",
                    text='{"type":"ordering.EmptyOrder","title":"An order has a line.","status":422,"detail":"none"}',
                )
            case "teapot":
                return web.Response(status=418, text="no coffee")
            case "moved":
                return web.Response(status=302, headers={"Location": "/elsewhere"})
            case "nonsense":
                return web.Response(status=201, text="{")
            case _:
                pass
        order_id = self.orders.setdefault(key, UUID(int=len(self.orders) + 1))
        if fault == "lost":
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"id": str(order_id)}, status=201, headers={"Colonnade-Token": f"seen {order_id}"})

    async def look(self, request: web.Request) -> web.Response:
        order_id = request.match_info["id"]
        assert request.headers["Colonnade-Token"] == f"seen {order_id}"
        ends = self.ends.get(order_id, ["confirmed"])
        status = ends.pop(0) if len(ends) > 1 else ends[0]
        if status == "gone":
            return web.Response(status=404)
        return web.json_response({"id": order_id, "status": status, "total": {"amount": "3.18"}, "lines": []})


@pytest_asyncio.fixture
async def ordering() -> AsyncIterator[Ordering]:
    """An ordering server on a free port."""
    server = Ordering()
    app = web.Application()
    app.router.add_post("/api/ordering/orders", server.place)
    app.router.add_get("/api/ordering/orders/{id}", server.look)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client's connections."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def orders(ordering: Ordering, session: aiohttp.ClientSession) -> OrdersApi:
    """The ordering server as customers see it."""
    return OrdersApi(session, WORLD, ordering.url, patience=10)


def test_visits_keep_the_day_s_pace_from_midnight() -> None:
    """At sixty times the speed, a basket of 00:00:30 is due after half a second, under its run's key."""
    visits = list(schedule([basket_of(1, 3), basket_of(2, 30)], "monday", 60))
    assert [(visit.due, visit.key) for visit in visits] == [(0.05, "monday/1"), (0.5, "monday/2")]


def test_at_full_speed_everyone_is_due_at_once() -> None:
    """An infinite speed keeps the order and drops the waiting."""
    visits = list(schedule([basket_of(1, 3), basket_of(2, 30)], "monday", math.inf))
    assert [(visit.due, visit.basket.basket_id) for visit in visits] == [(0, 1), (0, 2)]


@pytest.mark.parametrize("speed", [0, -1, math.nan])
def test_a_speed_that_is_not_above_zero_is_refused(speed: float) -> None:
    """Nobody would ever come."""
    with pytest.raises(ValueError, match="give a number above 0"):
        schedule([basket_of(1)], "monday", speed)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "", "http://host:port"])
async def test_an_address_that_is_none_is_refused_at_once(session: aiohttp.ClientSession, url: str) -> None:
    """A wrong address is told before anyone waits for it."""
    with pytest.raises(ValueError, match="not the address of a web server"):
        OrdersApi(session, WORLD, url)


async def test_a_basket_becomes_an_order(ordering: Ordering, orders: OrdersApi) -> None:
    """The request says who wants what where, and nothing else; the order's id comes back."""
    outcome = await orders.place(basket_of(64), "monday/64")
    assert isinstance(outcome, Placed)
    assert (outcome.basket_id, outcome.order_id, outcome.attempts) == (64, UUID(int=1), 1)
    assert outcome.token == f"seen {UUID(int=1)}"
    assert outcome.seconds > 0
    [(key, body)] = ordering.requests
    assert key == "monday/64"
    assert body == (
        b'{"customer_id":"00000000-0000-0000-0000-000000000040","store_id":340,'
        b'"lines":[{"product_id":10,"quantity":2}]}'
    )


@pytest.mark.parametrize(
    "faults", [["dropped"], ["lost"], ["busy", "busy"], ["broken"], ["dropped", "busy", "lost", "broken"]]
)
async def test_a_basket_is_sent_again_under_its_key_until_it_is_answered(
    ordering: Ordering, orders: OrdersApi, faults: list[str]
) -> None:
    """Broken connections, lost answers, 503 and 500 cost attempts, never a second order."""
    ordering.faults["monday/64"] = list(faults)
    outcome = await orders.place(basket_of(64), "monday/64")
    assert isinstance(outcome, Placed)
    assert outcome.attempts == len(faults) + 1 == len(ordering.requests)
    assert set(ordering.requests) == {("monday/64", ordering.requests[0][1])}
    assert ordering.correlations == {str(correlation_of("monday/64"))}
    assert list(ordering.orders.values()) == [outcome.order_id]


async def test_a_refusal_is_an_answer(ordering: Ordering, orders: OrdersApi) -> None:
    """A 4xx is not tried again; its problem document says why."""
    ordering.faults["monday/64"] = ["empty order"]
    outcome = await orders.place(basket_of(64), "monday/64")
    assert isinstance(outcome, Refused)
    assert outcome.problem == Problem("ordering.EmptyOrder", "An order has a line.", 422, "none")
    assert outcome.attempts == 1


async def test_a_refusal_without_a_problem_document_is_told_as_it_came(ordering: Ordering, orders: OrdersApi) -> None:
    """Not every 4xx comes from Grocer: status and text are kept."""
    ordering.faults["monday/64"] = ["teapot"]
    outcome = await orders.place(basket_of(64), "monday/64")
    assert isinstance(outcome, Refused)
    assert outcome.problem == Problem("about:blank", "I'm a Teapot", 418, "no coffee")


@pytest.mark.parametrize(
    ("fault", "reason"), [("moved", "302 Found, not 201"), ("nonsense", "a 201 that makes no sense")]
)
async def test_an_answer_without_sense_is_not_taken_for_an_order(
    ordering: Ordering, orders: OrdersApi, fault: str, reason: str
) -> None:
    """Neither placed nor refused: it is told as unanswered."""
    ordering.faults["monday/64"] = [fault]
    outcome = await orders.place(basket_of(64), "monday/64")
    assert isinstance(outcome, Unanswered)
    assert reason in outcome.reason


async def test_patience_ends(ordering: Ordering, session: aiohttp.ClientSession) -> None:
    """A server that only ever breaks is given up within the patience, with the last reason."""
    ordering.faults["monday/64"] = ["broken"] * 100
    outcome = await OrdersApi(session, WORLD, ordering.url, patience=0.2).place(basket_of(64), "monday/64")
    assert isinstance(outcome, Unanswered)
    assert outcome.reason == "500 Internal Server Error"
    assert 1 < outcome.attempts == len(ordering.requests) < 100


async def test_a_server_that_is_not_there_is_named(unused_tcp_port: int, session: aiohttp.ClientSession) -> None:
    """A refused connection is tried again as the server may be restarting, then told with its address."""
    orders = OrdersApi(session, WORLD, f"http://127.0.0.1:{unused_tcp_port}", patience=0.2)
    outcome = await orders.place(basket_of(64), "monday/64")
    assert isinstance(outcome, Unanswered)
    assert outcome.attempts > 1
    assert f"127.0.0.1:{unused_tcp_port}" in outcome.reason


async def test_playing_accounts_for_every_basket(ordering: Ordering, orders: OrdersApi) -> None:
    """Each basket has one outcome, told when it is known, and a second play of the same run orders nothing more."""
    baskets = [basket_of(number) for number in range(1, 101)]
    ordering.faults = {"monday/7": ["empty order"], "monday/8": ["lost"], "monday/9": ["nonsense"]}
    outcomes: list[Outcome] = []
    await play(schedule(baskets, "monday", math.inf), orders, WORLD, outcomes.append)
    assert sorted(outcome.basket_id for outcome in outcomes) == list(range(1, 101))
    assert len(ordering.orders) == 98
    assert sum(isinstance(outcome, Placed) for outcome in outcomes) == 98

    ordering.faults = {"monday/7": ["empty order"]}
    again: list[Outcome] = []
    await play(schedule(baskets, "monday", math.inf), orders, WORLD, again.append)
    placed = {outcome.basket_id: outcome.order_id for outcome in outcomes if isinstance(outcome, Placed)}
    placed_again = {outcome.basket_id: outcome.order_id for outcome in again if isinstance(outcome, Placed)}
    assert placed.items() < placed_again.items()
    assert len(ordering.orders) == len(placed_again) == 99


async def test_no_more_customers_than_tills_are_served_at_once(ordering: Ordering, orders: OrdersApi) -> None:
    """However many are due, the server meets a bounded number at a time."""
    ordering.gate, ordering.crowd = asyncio.Event(), IN_FLIGHT
    baskets = [basket_of(number) for number in range(1, 2 * IN_FLIGHT)]
    outcomes: list[Outcome] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(play(schedule(baskets, "monday", math.inf), orders, WORLD, outcomes.append))
        async with asyncio.timeout(10):
            await ordering.crowded.wait()
        ordering.gate.set()
    assert len(outcomes) == len(baskets)
    assert ordering.most_at_once == IN_FLIGHT


async def test_nobody_comes_before_their_time(ordering: Ordering, orders: OrdersApi) -> None:
    """A visit that is due later is sent later."""
    started = WORLD.clock.monotonic()
    arrived: list[float] = []
    visits = [Visit(0.0, basket_of(1), "monday/1"), Visit(0.15, basket_of(2), "monday/2")]
    await play(visits, orders, WORLD, lambda _: arrived.append(WORLD.clock.monotonic() - started))
    assert arrived[0] < 0.15 <= arrived[1]


async def test_cancelled_customers_leave_nothing_behind(ordering: Ordering, orders: OrdersApi) -> None:
    """Ctrl-C in the middle of play ends every customer with it."""
    before = asyncio.all_tasks()
    baskets = [basket_of(number) for number in range(1, IN_FLIGHT + 1)]
    ordering.gate, ordering.crowd = asyncio.Event(), len(baskets)
    playing = asyncio.create_task(play(schedule(baskets, "monday", math.inf), orders, WORLD, lambda _: None))
    async with asyncio.timeout(10):
        await ordering.crowded.wait()
    ours = {task for task in asyncio.all_tasks() - before if "play.<locals>" in repr(task.get_coro())}
    assert len(ours) == len(baskets)
    playing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await playing
    assert all(task.done() for task in ours)


def placed(number: int) -> Placed:
    """An order that was placed."""
    return Placed(number, UUID(int=number), 0.010 * number, attempts=1, token=f"seen {UUID(int=number)}")


async def test_orders_are_followed_to_their_end(ordering: Ordering, orders: OrdersApi) -> None:
    """An order is looked at until it is no longer pending; one that cannot be seen is None, not forgotten."""
    ordering.ends = {
        str(UUID(int=1)): ["pending", "pending", "rejected"],
        str(UUID(int=3)): ["gone"],
    }
    ends: dict[Placed, Order | None] = {}
    await follow([placed(1), placed(2), placed(3)], orders, WORLD.clock.monotonic() + 10, ends.__setitem__)
    assert [order and order.status for order in (ends[placed(1)], ends[placed(2)], ends[placed(3)])] == [
        "rejected", "confirmed", None,
    ]  # fmt: skip


async def test_following_ends_at_its_deadline(ordering: Ordering, orders: OrdersApi) -> None:
    """An order that stays pending is given as it stands."""
    ordering.ends = {str(UUID(int=1)): ["pending"]}
    ends: dict[Placed, Order | None] = {}
    await follow([placed(1)], orders, WORLD.clock.monotonic() + 0.1, ends.__setitem__)
    order = ends[placed(1)]
    assert order is not None
    assert order.is_open


def order_of(status: str, total: str, reason: str | None = None) -> Order:
    """An order as it was looked at."""
    return Order(status, Money(Decimal(total)), reason)


def test_a_report_adds_up() -> None:
    """Orders by status with their money, refusals by name, the unanswered, latencies, retries: nothing is left out."""
    lacking = Problem("ordering.EmptyOrder", "An order has a line.", 422, "order 5")
    refused = [Refused(5, lacking, 0.005, 3), Refused(6, lacking, 0.006, 1)]
    unanswered = Unanswered(7, "500 Internal Server Error", 9)
    ends = {
        placed(1): order_of("confirmed", "3.18"),
        placed(2): order_of("confirmed", "10.00"),
        placed(3): order_of("rejected", "5.00", "take payment: The card was declined. (order_id=3)"),
        placed(4): None,
    }
    report = report_on([*ends, *refused, unanswered], ends)
    assert report.baskets == 7
    assert {status: (ended.count, str(ended.total.amount)) for status, ended in report.orders.items()} == {
        "confirmed": (2, "13.18"), "rejected": (1, "5.00"), UNSEEN: (1, "0.00"),
    }  # fmt: skip
    assert report.rejections == {"take payment: The card was declined.": 1}
    assert report.refusals == {Problem("ordering.EmptyOrder", "An order has a line.", 422): 2}
    assert report.unanswered == [unanswered]
    assert report.latencies == {50: 0.010, 95: 0.040, 99: 0.040, 100: 0.040}
    assert report.retries == 2 + 8


def test_a_report_of_nothing_is_empty() -> None:
    """A run without baskets has no latencies to speak of."""
    report = report_on([], {})
    assert (report.baskets, report.orders, report.latencies, report.retries) == (0, {}, {}, 0)


def test_a_report_is_shown_as_tables() -> None:
    """What a person reads: statuses with dollars, refusals by type, baskets without an answer, latencies."""
    ends = {
        placed(1): order_of("confirmed", "1234.50"),
        placed(2): order_of("rejected", "3.00", "take payment: The card was declined. (order_id=2)"),
    }
    refused = Refused(5, Problem("ordering.EmptyOrder", "An order has a line.", 422, "order 5"), 0.005, 1)
    unanswered = Unanswered(7, "500 Internal Server Error", 9)
    screen = StringIO()
    Console(file=screen, width=100).print(tables(report_on([*ends, refused, unanswered], ends)))
    for text in (
        "4 baskets",
        "take payment: The card was declined. ",
        "confirmed",
        "1,234.50",
        "422 ordering.EmptyOrder",
        "no answer for 7: 500",
        "p99",
        "10.0 ms",
    ):
        assert text in screen.getvalue()


def test_a_bar_counts_what_is_done() -> None:
    """The bar advances by one at each call."""
    screen = StringIO()
    with bar(Console(file=screen, force_terminal=True, width=100), "baskets", total=3) as done:
        done(object())
        done(object())
    assert "2/3" in screen.getvalue()

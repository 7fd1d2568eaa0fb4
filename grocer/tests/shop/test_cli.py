"""`grocer shop` and `grocer laws`, as they are typed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import msgspec
import pytest
from colonnade.system.admin.evidence import open_to_read
from colonnade.world import real_world

from grocer.shop.day import load_day

PROGRAM = "from grocer.shop.cli import main; main()"
SECONDS = 50.0


class Grocer(NamedTuple):
    """A running system: its process, address and data directory."""

    process: "subprocess.Popen[str]"
    url: str
    data: Path


@pytest.fixture(scope="module")
def grocer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grocer]:
    """Grocer on a free port."""
    with started(tmp_path_factory.mktemp("grocer")) as grocer:
        yield grocer


@contextmanager
def started(data: Path, *options: str) -> Iterator[Grocer]:
    """Grocer in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "colonnade.cli", "up", "grocer.system:grocer", "--port=0", f"--data={data}", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        banner = ""
        for line in process.stdout:
            banner += line
            if found := re.search(r"(http://\S+:\d+)/health/ready", banner):
                yield Grocer(process, found[1], data)
                break
        else:
            raise AssertionError(f"Grocer did not start: {banner}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def run(*arguments: str, data: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command of `grocer`."""
    environment = os.environ | {"COLONNADE_DATA": str(data), "COLUMNS": "120", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=SECONDS, env=environment
    )


def requested(url: str, body: object = None) -> Any:
    """The JSON that answers a GET, or a POST of `body`."""
    data = msgspec.json.encode(body) if body is not None else None
    with urlopen(Request(url, data, {"content-type": "application/json"}), timeout=SECONDS) as answer:  # noqa: S310
        return msgspec.json.decode(answer.read() or b"null")


def confirmed(grocer: Grocer) -> str:
    """The id of an order that is confirmed, of one of the day's first customers."""
    for basket in load_day().baskets:
        orders = requested(f"{grocer.url}/api/ordering/orders?customer_id={basket.customer_id}")
        for order in orders["items"]:
            if order["status"] == "confirmed":
                return str(order["id"])
    raise AssertionError("no order is confirmed")


def shop(grocer: Grocer, *options: str) -> Any:
    """The JSON of a run of the first forty baskets that breaks no law."""
    done = run("shop", "--speed", "max", "--limit", "40", "--url", grocer.url, "--json", *options, data=grocer.data)
    assert done.returncode == 0, done.stdout + done.stderr
    return msgspec.json.decode(done.stdout)


def test_a_run_accounts_for_every_basket_and_again_doubles_none(grocer: Grocer) -> None:
    """Forty baskets are orders that end, under laws that hold; the same run again finds them all placed already."""
    first = shop(grocer, "--run", "friday")
    orders = sum(each["count"] for each in first["orders"].values())
    assert orders + sum(each["count"] for each in first["refusals"]) == first["baskets"] == 40
    assert set(first["orders"]) <= {"confirmed", "rejected"}
    assert first["laws"]["holds"]
    assert first["laws"]["orders"] == first["laws"]["orders_settled"] == orders
    again = shop(grocer, "--run", "friday")
    assert (again["orders"], again["laws"]["orders"]) == (first["orders"], orders)
    assert shop(grocer)["laws"]["orders"] == 2 * orders


async def test_one_by_one_each_order_is_settled_before_the_next_basket_comes(grocer: Grocer) -> None:
    """What is written down of one is over before anything is of the next."""
    async with open_to_read(grocer.data, ["ordering"], real_world()) as stores:
        before = await stores["ordering"].log.end()
        done = run("shop", "--one-by-one", "--limit", "5", "--url", grocer.url, "--json", data=grocer.data)
        assert done.returncode == 0, done.stdout + done.stderr
        events = await stores["ordering"].log.read(before, 1_000, ["ordering.OrderPlaced", "colonnade.SagaEnded"])
    placed = sum(each["count"] for each in msgspec.json.decode(done.stdout)["orders"].values())
    assert [event.name for event in events] == ["ordering.OrderPlaced", "colonnade.SagaEnded"] * placed


def test_the_laws_are_judged_beside_the_running_system(grocer: Grocer) -> None:
    """`grocer laws` shows each law as held, with what was judged."""
    shop(grocer)
    judged = run("laws", "--settled", data=grocer.data)
    assert judged.returncode == 0
    assert judged.stdout.count("yes") == 7
    assert "goods on hand + reserved + sold = goods received" in judged.stdout


def test_an_order_that_a_customer_takes_back_leaves_the_laws_whole(grocer: Grocer) -> None:
    """Cancelled after it was confirmed: once all has settled, its money and its goods are back."""
    shop(grocer)
    before = msgspec.json.decode(run("laws", "--json", data=grocer.data).stdout)
    requested(f"{grocer.url}/api/ordering/orders/{confirmed(grocer)}/cancel", {})
    judged = run("laws", "--settled", "--json", data=grocer.data)
    assert judged.returncode == 0, judged.stdout
    after = msgspec.json.decode(judged.stdout)
    assert after["holds"]
    assert after["settled"]
    assert Decimal(after["refunded"]) > Decimal(before["refunded"])
    assert after["pieces_sold"] < before["pieces_sold"]


def test_people_see_tables(grocer: Grocer) -> None:
    """Without --json a run ends with its orders, its latencies and the laws."""
    shown = run("shop", "--speed", "max", "--limit", "3", "--url", grocer.url, data=grocer.data)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert re.match(r"run [0-9a-f-]{36}\n", shown.stdout)
    assert all(word in shown.stdout for word in ("3 baskets", "p99", "retries", "nobody is charged twice"))


def test_ctrl_c_tells_what_was_done_and_how_to_go_on(grocer: Grocer) -> None:
    """Interrupted at the day's own speed, a run says what it did, leaves with 130 and names itself."""
    with subprocess.Popen(
        [sys.executable, "-u", "-c", PROGRAM, "shop", "--speed", "1", "--run", "slow", "--url", grocer.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLONNADE_DATA": str(grocer.data), "COLUMNS": "120"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "run slow\n"
        process.send_signal(signal.SIGINT)
        shown, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert re.search(r"^\d+ baskets", shown, re.MULTILINE)
    assert "--run slow" in told


@pytest.mark.proof
def test_tenants_have_shops_of_their_own(tmp_path: Path) -> None:
    """The same run of the same baskets, at the same time, is each one's own: all of its orders, and its own books."""
    with started(tmp_path, "--tenant", "acme", "--tenant", "bolt") as grocer, ThreadPoolExecutor() as customers:
        reports = [*customers.map(lambda name: shop(grocer, "--run", "friday", "--tenant", name), ("acme", "bolt"))]
        for report in reports:
            orders = sum(each["count"] for each in report["orders"].values())
            assert report["laws"]["orders"] == orders > 30
            assert report["laws"]["holds"]
        nobody = run("laws", "--tenant", "carl", data=tmp_path)
        assert "There is no store at" in nobody.stderr
        assert run("laws", "--tenant", "../acme", data=tmp_path).returncode == 2


def test_a_running_system_needs_its_data_directory(grocer: Grocer, tmp_path: Path) -> None:
    """The laws' evidence is asked for before the first basket, not after the last."""
    done = run("shop", "--url", grocer.url, data=tmp_path)
    assert done.returncode == 1
    assert "There is no store at" in done.stderr
    assert "--data" in done.stderr

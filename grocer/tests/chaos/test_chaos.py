"""Grocer's fleet under ten minutes of faults: nothing lost, nothing twice, order kept, laws held, every saga ended."""

import asyncio
import os
import random
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from typing import Any

import msgspec
import pytest
from colonnade.system.admin.evidence import read_evidence
from colonnade.world import real_world
from grocer.tests.chaos.faults import Faults
from grocer.tests.chaos.fleet import Fleet, running
from grocer.tests.chaos.ledger import Ledger
from tests.servers.running import own_folder

MINUTES = float(os.environ.get("CHAOS_MINUTES", "10"))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(1 << 32)))
INSTANCES = {"ordering": 2, "inventory": 2}
"""The others have one instance: two cores carry no more."""

CALM_MINUTES = 1.0
"""For so long customers come after the last fault: they must not be gone before it, and then all must go on."""

BEGUN_SECONDS = 20.0
FAULTS_A_MINUTE = 24
BASKETS = 645
DAY_MINUTES = 24 * 60


async def customers(fleet: Fleet, speed: float) -> Process:
    """`grocer shop` as a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from grocer.shop.cli import main; main()", "shop", "--run", "chaos", "--json",
        "--url", f"http://127.0.0.1:{fleet.port}", "--speed", f"{speed:.1f}",
        stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env={**os.environ, "COLONNADE_DATA": str(fleet.data)},
    )  # fmt: skip


@pytest.mark.proof
@pytest.mark.timeout(3_600)
async def test_a_fleet_under_faults_loses_nothing_and_doubles_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """While customers shop, whatever is killed, cut, hung, added, removed or put wrong in its time."""
    with own_folder("chaos") as folder, capsys.disabled():
        print(f"\nchaos: seed {SEED}, {MINUTES:g} minutes (CHAOS_SEED, CHAOS_MINUTES)", flush=True)
        async with running(folder, real_world(), INSTANCES) as fleet:
            shop = await customers(fleet, DAY_MINUTES / (MINUTES + CALM_MINUTES))
            faults = Faults(fleet, random.Random(SEED))  # noqa: S311 - when and what
            try:
                await _begun(fleet, shop)
                await _make(faults, shop)
                played = await _told(shop)
            finally:
                if shop.returncode is None:
                    shop.kill()
                    await shop.wait()
            addresses = read_evidence(fleet.data)
            assert addresses is not None
            ledger = await Ledger.read(addresses)
            _report(faults, played, ledger)
            orders = sum(each["count"] for each in played["orders"].values())
            assert orders + sum(each["count"] for each in played["refusals"]) == BASKETS
            assert played["unanswered"] == []
            assert played["laws"]["orders"] == played["laws"]["orders_settled"] == orders
            assert (ledger.lost(), ledger.doubled(), ledger.disordered(), ledger.left) == ([], [], [], [])
            assert len(ledger.sent) > 4 * orders  # as many as their sagas sent at least
            assert ledger.events["colonnade.SagaStarted"] == ledger.events["colonnade.SagaEnded"] == orders
            assert faults.done.total() >= 20 * MINUTES


async def _begun(fleet: Fleet, shop: Process) -> None:
    """The first order is there: customers who cannot even open the books give up, and are right to."""
    addresses = read_evidence(fleet.data)
    assert addresses is not None
    async with asyncio.timeout(BEGUN_SECONDS):
        while not (await Ledger.read(addresses)).events["ordering.OrderPlaced"]:
            await _still(shop)
            await asyncio.sleep(0.1)


async def _still(shop: Process) -> None:
    if shop.returncode is not None:
        _, told = await shop.communicate()
        raise AssertionError(f"the customers were done before the faults were: {told.decode()}")


async def _make(faults: Faults, shop: Process) -> None:
    """Faults at any moment while the customers come."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while (passed := loop.time() - started) < 60 * MINUTES:
        await _still(shop)
        await faults.one()
        # As many as there should have been by now: a fault that takes long is made up for
        due = 60 * (faults.done.total() + faults.chance.random()) / FAULTS_A_MINUTE
        await asyncio.sleep(max(0.05, due - passed))
    await faults.mended()


async def _told(shop: Process) -> Any:
    output, errors = await shop.communicate()
    assert shop.returncode == 0, (output + errors).decode()
    return msgspec.json.decode(output)


def _report(faults: Faults, played: Any, ledger: Ledger) -> None:
    print("\n".join(f"  {line}" for line in faults.log))
    kinds = ", ".join(f"{number} x {kind}" for kind, number in faults.done.most_common())
    print(f"chaos: seed {SEED}, survived {faults.done.total()} faults: {kinds}")
    print(f"chaos: {played['orders']}, {played['retries']} requests were made again")
    wrong = (len(ledger.lost()), len(ledger.doubled()), len(ledger.disordered()))
    print(
        "chaos: {} messages and {} events were held against each other: {} lost, {} twice, {} out of order".format(
            len(ledger.sent), ledger.events.total(), *wrong
        ),
        flush=True,
    )

"""`colonnade sagas`: where long transactions stand, and taking stuck ones further."""

import asyncio
from pathlib import Path
from uuid import UUID

import pytest

from colonnade.observability.correlation import Context
from colonnade.persistence import DataDirectory
from colonnade.persistence.execution import Done
from colonnade.system.engines import embedded_engines
from colonnade.system.hosts.supervision import Supervisor
from colonnade.system.runtime import build
from colonnade.testing import running_system
from colonnade.world import real_world
from tests.cli.conftest import Invoked, json_lines
from tests.example.bakery.baking import Bake
from tests.example.bakery.system import bakery


@pytest.fixture
def waiting(tmp_path: Path) -> str:
    """The saga of a bakery whose shop did not work: it waits for its one step."""
    data = tmp_path / "data"
    data.mkdir()
    return asyncio.run(bake_while_the_shop_is_closed(data))


async def bake_while_the_shop_is_closed(data: Path) -> str:
    """Run all but the shop's worker until the saga has asked for its step."""
    world = real_world()
    runtime = await build(bakery, embedded_engines(DataDirectory(data), world), world)
    asked = asyncio.Event()
    baking = runtime.services["baking"]
    runtime.services["selling"].store.watch(lambda _: asked.set())
    loops = {name: loop for name, loop in runtime.loops.items() if name != "selling.worker"}
    running = asyncio.create_task(Supervisor(loops, world).run())
    try:
        outcome = await baking.handlers.execute(Bake(5), Context(world.ids.new()))
        assert isinstance(outcome, Done)
        async with asyncio.timeout(10):
            await asked.wait()
        return f"SellBread/{outcome.value}"
    finally:
        running.cancel()
        await asyncio.wait([running])
        await runtime.close()


def test_sagas_are_listed_by_how_they_stand(baked: Path, invoke: Invoked) -> None:
    """Those that have not ended by default; others on request."""
    assert invoke("sagas", "list").stdout == "There are no such sagas.\n"
    completed = json_lines(invoke("sagas", "list", "--state", "completed", "--json").stdout)
    assert [(saga["saga"], saga["state"]) for saga in completed] == [("SellBread", "COMPLETED")] * 2
    (undone,) = json_lines(invoke("sagas", "list", "--state", "compensated", "--json").stdout)
    assert undone["why"] == ("stock shelf: selling.NoRoom: The shelf takes fifty loaves at a time. (loaves=60)")
    assert undone["steps"] == {"stock shelf": "refused"}
    every = json_lines(invoke("sagas", "list", "--state", "all", "--json").stdout)
    assert every == [*completed, undone]
    assert json_lines(invoke("sagas", "list", "--state", "all", "-l", "1", "--json").stdout) == [undone]
    assert invoke("sagas", "list", "--state", "all", "--saga", "BuyFlour").stdout == "There are no such sagas.\n"


def test_a_saga_is_shown_with_its_steps_and_its_history(baked: Path, invoke: Invoked) -> None:
    """What it did, was told and decided, and when."""
    (undone,) = json_lines(invoke("sagas", "list", "--state", "compensated", "--json").stdout)
    stream = f"SellBread/{undone['id']}"
    shown = invoke("sagas", "show", stream).stdout
    assert shown.startswith(f"{stream} of baking: COMPENSATED\nbecause of stock shelf: selling.NoRoom")
    told = [line[21:].strip() for line in shown.partition("what happened")[2].splitlines()[1:]]
    assert [line.partition(":")[0] for line in told] == [
        "started by baking.BreadBaked",
        "stock shelf",
        "stock shelf",
        "undone from here on, because of selling.NoRoom",
        "ended COMPENSATED",
    ]
    (as_json,) = json_lines(invoke("sagas", "show", stream, "--json").stdout)
    assert [event["event"] for event in as_json["history"]] == [
        "SagaStarted",
        "StepAsked",
        "StepAnswered",
        "Compensating",
        "SagaEnded",
    ]


def test_what_is_no_saga_is_told(baked: Path, invoke: Invoked) -> None:
    """A name of the wrong form is a mistake in the command, one that nobody has a failure."""
    assert invoke("sagas", "show", "SellBread").exit_code == 2
    nobody = invoke("sagas", "show", f"SellBread/{UUID(int=1)}")
    assert (nobody.exit_code, nobody.stderr) == (
        1,
        f"There is no saga SellBread/{UUID(int=1)}; see colonnade sagas list --state all.\n",
    )
    (batch,) = json_lines(invoke("events", "list", "-n", "baking.BreadBaked", "-l", "1", "--json").stdout)
    assert invoke("sagas", "show", batch["stream"]).exit_code == 1


def test_a_saga_that_ended_well_is_left_alone(baked: Path, invoke: Invoked) -> None:
    """There is nothing to take further, and the command says so."""
    (undone,) = json_lines(invoke("sagas", "list", "--state", "compensated", "--json").stdout)
    for command in ("retry", "compensate", "close"):
        told = invoke("sagas", command, f"SellBread/{undone['id']}")
        assert (told.exit_code, told.stderr) == (1, f"SellBread/{undone['id']} has ended: COMPENSATED.\n")


def test_a_waiting_saga_says_what_it_waits_for(waiting: str, invoke: Invoked) -> None:
    """It is listed by default."""
    (live,) = json_lines(invoke("sagas", "list", "--json").stdout)
    assert f"{live['saga']}/{live['id']}" == waiting
    assert (live["state"], live["waits_for"], live["why"]) == ("running", ["stock shelf"], None)
    assert live["steps"] == {"stock shelf": "asked"}
    assert waiting in invoke("sagas", "list").stdout


@pytest.mark.parametrize(
    ("command", "end", "events"),
    [
        (("skip", "stock shelf"), "COMPLETED", ["StepSkipped", "SagaEnded"]),
        (("close",), "COMPENSATION_FAILED", ["SagaEnded"]),
        (("retry",), "COMPLETED", ["StepAsked", "StepAnswered", "SagaEnded"]),
    ],
)
def test_a_stuck_saga_is_taken_further_by_hand(
    waiting: str, invoke: Invoked, tmp_path: Path, command: tuple[str, ...], end: str, events: list[str]
) -> None:
    """What an operator decides is done when the system runs again, before what waits in its lines."""
    action, *step = command
    told = invoke("sagas", action, waiting, *step)
    assert (told.exit_code, told.stdout) == (0, f"The saga {waiting} is told to {action}.\n")

    async def run_again() -> None:
        async with running_system(bakery, tmp_path / "data") as system:
            await system.settled()

    asyncio.run(run_again())
    (saga,) = json_lines(invoke("sagas", "show", waiting, "--json").stdout)
    assert saga["state"] == end
    assert [event["event"] for event in saga["history"]][2:] == events


def test_a_step_that_a_saga_does_not_have_cannot_be_skipped(waiting: str, invoke: Invoked) -> None:
    """The steps that there are, are named."""
    told = invoke("sagas", "skip", waiting, "stock shelves")
    assert (told.exit_code, told.stderr) == (
        1,
        f"{waiting} has no step 'stock shelves'; its steps are 'stock shelf'.\n",
    )

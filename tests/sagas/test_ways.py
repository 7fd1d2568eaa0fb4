"""The ways of a saga's messages: done at once or through the inbox, they lead to the same."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from colonnade.workers.at_once.trying import Trying
from colonnade.workers.sagas.history import End, SagaEvent
from tests.sagas.travel.clerks import Clerks, Doing
from tests.sagas.travel.stations import Confirm
from tests.sagas.travel.trips import CancelTrip
from tests.sagas.travelling import TRIP, Travel, travelling

By = Literal["confirm", "deny", "cancel", "compensate", "skip", "close"]

ALWAYS = 50
NEVER_SECONDS = 1_000_000.0
"""No step is out of time before whatever fails has been tried again."""


@dataclass(frozen=True)
class Case:
    """Steps one after the other, some of them in the saga's own service; what becomes of each, and of its undoing.

    One booking may be left open, until somebody decides.
    """

    steps: Sequence[str]
    told: dict[str, Doing]
    open: str | None = None
    by: By = "confirm"


@dataclass(frozen=True)
class Outcome:
    """All that can be seen in the end."""

    end: End
    history: Sequence[SagaEvent]
    booked: Sequence[str]
    packed: Sequence[str]
    told: Sequence[tuple[str, dict[str, Any]]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Mostly steps that are done."""
    kinds = draw(st.lists(st.sampled_from(["seat", "bag"]), min_size=1, max_size=5))
    steps = [f"{kind}-{place}" for place, kind in enumerate(kinds)]
    about = [*(f"{what} {step}" for step in steps for what in ("book", "unbook")), "complete", "fail"]
    doing: st.SearchStrategy[Doing] = st.sampled_from(["refuse", "fail"])
    told: dict[str, Doing] = draw(st.dictionaries(st.sampled_from(about), doing, max_size=3))
    seats = [step for step in steps if step.startswith("seat")]
    open = draw(st.sampled_from([None, *seats]))
    by: By = draw(st.sampled_from(["confirm", "deny", "cancel", "compensate", "skip", "close"]))
    return Case(steps, told, open, by)


async def outcome_of(case: Case, data: Path) -> Outcome:
    """Let the saga run to its end."""
    clerks = Clerks()
    for about, doing in case.told.items():
        # What is done at once may come to nothing and be done again: who refuses does so always
        times = [doing] if doing == "fail" else [doing] * ALWAYS
        clerks.tell(about, *times)
    if case.open is not None:
        left_open: list[Doing] = ["defer"] * ALWAYS
        clerks.tell(f"book {case.open}", *left_open)
    async with travelling(data, clerks=clerks) as travel:
        await travel.plan(*case.steps, seconds=NEVER_SECONDS)

        async def has_ended() -> bool:
            saga = await travel.saga()
            return saga is not None and saga.end is not None

        async def is_open() -> bool:
            return await has_ended() or bool(await travel.stations.deferrals(f"{TRIP}/{case.open}"))

        if case.open is not None:
            await travel.pass_time_until(is_open)
            if not await has_ended():
                await decide(travel, case.open, case.by)
        await travel.pass_time_until(has_ended)
        await travel.system.settled()
        saga = await travel.saga()
        assert saga is not None
        assert saga.end is not None
        return Outcome(
            saga.end, await travel.history(), await travel.booked(), await packed(travel), await travel.told()
        )


async def decide(travel: Travel, seat: str, by: By) -> None:
    """Settle what was left open, or do without."""
    match by:
        case "confirm" | "deny":
            await travel.execute(Confirm(TRIP, seat, booked=by == "confirm"))
        case "cancel":
            await travel.execute(CancelTrip(TRIP))
        case "skip":
            await travel.steer(by, seat)
        case "compensate" | "close":
            await travel.steer(by)


async def packed(travel: Travel) -> Sequence[str]:
    """What happened to the bags: +bag and -bag, in order."""
    signs = {"trips.Packed": "+", "trips.Unpacked": "-"}
    events = [event for event in await travel.trips.log.read() if event.name in signs]
    return [signs[event.name] + msgspec.json.decode(event.data)["bag"] for event in events]


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(cases())
@example(Case(["seat-0", "bag-1", "bag-2"], {}))
@example(Case(["seat-0", "bag-1", "seat-2", "bag-3"], {"book bag-3": "refuse", "unbook bag-1": "fail"}))
@example(Case(["bag-0", "seat-1", "bag-2"], {"complete": "refuse"}, "seat-1", "confirm"))
@example(Case(["bag-0", "seat-1", "bag-2"], {"fail": "fail"}, "seat-1", "cancel"))
def test_whichever_way_the_messages_of_a_saga_go_it_comes_to_the_same(case: Case) -> None:
    """The same end, told the same, with the same history and the same done and undone by others and by itself."""
    with TemporaryDirectory() as data, pytest.MonkeyPatch.context() as patch:
        (Path(data) / "at once").mkdir()
        (Path(data) / "inbox").mkdir()
        at_once = asyncio.run(outcome_of(case, Path(data) / "at once"))
        patch.setattr(Trying, "is_worth", lambda self, message: False)
        through_the_inbox = asyncio.run(outcome_of(case, Path(data) / "inbox"))
        assert at_once == through_the_inbox

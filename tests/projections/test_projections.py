"""Read models follow the log, can be rebuilt at any time, and never answer older than what a caller has seen."""

import asyncio
from collections.abc import Sequence
from dataclasses import astuple
from datetime import UTC
from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy import select

from colonnade.application import Write
from colonnade.messages import Metadata
from colonnade.persistence.failures import MissedRow
from colonnade.persistence.reads import RequiredPosition, StaleRead, required_position
from colonnade.persistence.tables.reading import StoreReads
from colonnade.testing import RunningSystem

from .bank import (
    AccountOpened,
    BalanceOf,
    Balances,
    Curse,
    Cursed,
    Deposit,
    Deposited,
    NoteDown,
    Notes,
    OpenAccount,
    Row,
    RunBank,
    balances,
)
from .homes import Home, tables_of_read_models


async def rows_of(system: RunningSystem) -> set[tuple[object, ...]]:
    """All rows of the read model that is read now."""
    models = system.runtime.services["accounts"].models
    return {tuple(row) for row in await StoreReads(models).all(select(balances))}


async def some_money(system: RunningSystem, accounts: int = 5, deposits: int = 20) -> list[UUID]:
    """Accounts with deposits on them."""
    ids = await asyncio.gather(*(system.execute(OpenAccount(f"owner {n}")) for n in range(accounts)))
    await asyncio.gather(*(system.execute(Deposit(id, n)) for id in ids for n in range(deposits)))
    return list(ids)


async def test_rows_follow_the_log_with_exact_types(running_bank: RunBank) -> None:
    """What was recorded is a row soon after; decimals, moments, booleans and ids come back as they went in."""
    async with running_bank() as system:
        (account,) = await some_money(system, 1)
        await system.execute(Deposit(account, 5000))
        await system.settled()
        (row,) = [Row(*row) for row in await rows_of(system)]  # type: ignore[arg-type]
        assert astuple(row)[:5] == (account, "owner 0", 5190, 21, Decimal("0.10"))
        assert row.changed_at.tzinfo is UTC
        assert row.rich is True


async def test_a_restart_goes_on_where_it_stopped(running_bank: RunBank) -> None:
    """Nothing is projected twice and nothing is left out over a restart."""
    async with running_bank() as system:
        (account,) = await some_money(system, 1)
    async with running_bank() as system:
        await system.execute(Deposit(account, 1))
        await system.settled()
        assert await system.ask(BalanceOf(account)) == sum(range(20)) + 1


async def test_a_rebuild_under_load_equals_the_live_one(running_bank: RunBank) -> None:
    """While commands go on, the log is projected anew beside the rows that are read; afterwards both are the same."""
    async with running_bank() as system:
        ids = await some_money(system, 10, 60)
        (projector,) = system.runtime.services["accounts"].projectors
        stop = asyncio.Event()

        async def go_on() -> int:
            count = 0
            while not stop.is_set():
                await asyncio.gather(*(system.execute(Deposit(id, 1)) for id in ids))
                count += 1
                await asyncio.sleep(0.01)
            return count

        load = asyncio.create_task(go_on())
        progress = [step async for step in projector.rebuild()]
        stop.set()
        rounds = await load
        await system.settled()
        assert rounds > 0
        assert [step.position for step in progress] == sorted(step.position for step in progress)
        rebuilt = await rows_of(system)
        assert {(row[0], row[2], row[3]) for row in rebuilt} == {
            (id, sum(range(60)) + rounds, 60 + rounds) for id in ids
        }
        assert {step.position async for step in projector.rebuild()}
        assert await rows_of(system) == rebuilt
        store = system.runtime.services["accounts"].store
        assert await tables_of_read_models(store) == ["balances__3", "notes__0"]


async def test_a_poison_event_stops_its_projection_by_name(running_bank: RunBank, home: Home) -> None:
    """The event before it is projected, it and those behind are not, health names it, commands go on."""
    async with running_bank() as system:
        (account,) = await some_money(system, 1, 3)
        await system.execute(Curse(account))
        await system.execute(Deposit(account, 100))
        service = system.runtime.services["accounts"]
        async with asyncio.timeout(5):
            while not (states := service.health.states()):  # noqa: ASYNC110 - health is asked, it does not tell
                await asyncio.sleep(0.01)
        (state,) = states
        assert state.name == "accounts.projection.Balances"
        assert f"cannot take event {home.unused + 5} of Account/" in state.detail
        assert await system.ask(BalanceOf(account)) == 0 + 1 + 2
        (progress,) = [await projector.progress() for projector in service.projectors]
        assert (progress.position, progress.end) == (home.unused + 4, home.unused + 6)
        assert progress.stopped is not None


class Mended(Balances):
    """The same projection after its code was mended."""

    version = 2

    def on(self, event: AccountOpened | Deposited | Cursed, meta: Metadata) -> Write | Sequence[Write]:
        """Follow, and take no notice of curses."""
        return () if isinstance(event, Cursed) else super().on(event, meta)


Mended.__name__ = "Balances"


async def test_a_new_version_is_built_from_the_whole_log(running_bank: RunBank) -> None:
    """Mended code with a new version projects everything again, the poison included, into tables of its own."""
    async with running_bank() as system:
        (account,) = await some_money(system, 1, 3)
        await system.execute(Curse(account))
        await system.execute(Deposit(account, 100))
    async with running_bank(Mended) as system:
        await system.settled()
        assert await system.ask(BalanceOf(account)) == 103
        assert not system.runtime.services["accounts"].health.states()


async def test_a_query_waits_for_what_its_caller_has_seen(running_bank: RunBank) -> None:
    """With the token of a command, the query sees that command, although projections come later."""
    async with running_bank() as system:
        created = await system.request("POST", "/api/accounts/accounts", json={"owner": "Anne"})
        place = created.headers["location"]
        for cents in range(1, 20):
            paid = await system.request("POST", f"{place}/deposits", json={"cents": 1})
            token = {"Colonnade-Token": paid.headers["colonnade-token"]}
            assert (await system.request("GET", place, headers=token)).json() == cents


async def test_a_query_that_cannot_be_fresh_enough_says_so(running_bank: RunBank) -> None:
    """Behind a stopped projection a token gets a stale read, in HTTP 503 with Retry-After; without one all is old."""
    async with running_bank() as system:
        (account,) = await some_money(system, 1, 1)
        await system.execute(Curse(account))
        service = system.runtime.services["accounts"]
        service.models.wait_seconds = 0.05
        required_position.set(RequiredPosition("accounts", service.store.history, await service.store.log.end()))
        with pytest.raises(StaleRead, match="Balances has been written up to"):
            await system.ask(BalanceOf(account))
        required_position.set(None)
        assert await system.ask(BalanceOf(account)) == 0
        token = f"accounts.{service.store.history.hex}.{await service.store.log.end():x}"
        answer = await system.request("GET", f"/api/accounts/accounts/{account}", headers={"Colonnade-Token": token})
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_tables_of_ones_own_are_written_with_the_command(running_bank: RunBank) -> None:
    """A command's writes are committed with it; one that fails commits nothing and harms no other."""
    async with running_bank() as system:
        await system.execute(NoteDown("a"))
        results = await asyncio.gather(
            *(system.execute(NoteDown(note)) for note in ("b", "a", "c")), return_exceptions=True
        )
        assert [type(result).__name__ for result in results] == ["NoneType", "WriteFailed", "NoneType"]
        assert await system.ask(Notes()) == ("a", "b", "c")


def test_a_missed_row_says_for_what() -> None:
    """The error shows the statement that found no row."""
    assert "UPDATE x" in str(MissedRow("UPDATE x"))

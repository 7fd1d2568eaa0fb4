"""`colonnade migrate`, on the data of an embedded host and on a fleet's PostgreSQL."""

import asyncio
import os
from pathlib import Path

import asyncpg
import pytest

from colonnade.persistence import DataDirectory
from colonnade.persistence.postgres import PostgresStore, open_postgres_store
from colonnade.system.admin.evidence import write_evidence
from colonnade.system.hosts.fleet.databases import make_database
from colonnade.system.hosts.servers.postgresql import PostgresServer, postgresql
from colonnade.testing import running_system
from colonnade.world import real_world
from tests.cli.conftest import Invoked, json_lines
from tests.migrations.box_office.after import office as after
from tests.migrations.box_office.before import office as before
from tests.migrations.box_office.contracts import GuestOf, SeatsSold, SellSeat
from tests.migrations.seats import models, write
from tests.servers.running import own_folder

AFTER = "tests.migrations.box_office.after:office"
STEP = "0001_seats_are_in_halls"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data of an embedded box office of the version before, which has sold a seat."""
    folder = tmp_path / "data"
    folder.mkdir()

    async def sell() -> None:
        async with running_system(before, folder) as system:
            await system.execute(SellSeat(1, "Ada"))

    asyncio.run(sell())
    return folder


def test_files_are_migrated(data: Path, invoke: Invoked) -> None:
    """As planned: the plan is printed first, and changes nothing; a second time there is nothing to do."""
    planned = invoke("migrate", AFTER, "--plan")
    assert planned.exit_code == 0
    lines = planned.stdout.splitlines()
    assert lines[0] == f"-- tickets: {STEP}, expand"
    assert lines[1] == "ALTER TABLE \"seats__0\" ADD COLUMN hall TEXT DEFAULT 'A' NOT NULL;"
    assert f"-- tickets: {STEP}, contract" in lines
    assert invoke("migrate", AFTER, "--plan").stdout == planned.stdout

    done = invoke("migrate", AFTER)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0].startswith(f"tickets: {STEP}, expand 1/6: ALTER TABLE")
    assert done.stdout.endswith("Done: 7 steps.\n")
    again = invoke("migrate", AFTER)
    assert (again.exit_code, again.stdout) == (0, "The tables are those of the code; there is nothing to do.\n")


def test_the_embedded_host_migrates_by_itself(data: Path) -> None:
    """Rows are kept, and code of the version before is refused after that."""

    async def sold() -> tuple[int, str]:
        async with running_system(after, data) as system:
            await system.execute(SellSeat(2, "Bob"))
            return await system.ask(SeatsSold()), await system.ask(GuestOf(1))

    assert asyncio.run(sold()) == (2, "Ada")


def test_what_cannot_be_migrated_is_told(data: Path, tmp_path: Path, invoke: Invoked) -> None:
    """Mistakes in the command end with status 2, others with status 1; each names its remedy."""
    wrong = invoke("migrate", AFTER, "--contract")
    assert wrong.exit_code == 2
    assert "add --fleet" in wrong.output
    unknown = invoke("migrate", AFTER, "--service", "till")
    assert unknown.exit_code == 2
    assert "there are tickets" in unknown.output
    nothing = invoke("migrate", AFTER, "--data", str(tmp_path / "elsewhere"))
    assert nothing.exit_code == 1
    assert "name the data directory of a system with --data" in nothing.output
    no_fleet = invoke("migrate", AFTER, "--fleet")
    assert no_fleet.exit_code == 1
    assert "There are no stores in" in no_fleet.output


def test_help_has_examples(invoke: Invoked) -> None:
    """One for each way."""
    told = invoke("migrate", "--help")
    assert told.exit_code == 0
    assert "colonnade migrate grocer.system:grocer --fleet --contract" in told.output


async def sell(url: str, number: int) -> PostgresStore:
    """Sell a seat as an instance of the version before, which goes on to be there."""
    store = await open_postgres_store(url, real_world())
    await models(store, before.services[0].line())
    await write(store, f"INSERT INTO {{s}}\"seats__0\" VALUES ({number}, 'Ada')")
    return store


@pytest.fixture
def fleet(postgres: PostgresServer, tmp_path: Path) -> str:
    """The address of a database of the fleet's service `tickets`, with a store of the version before."""

    async def made() -> str:
        connection = await asyncpg.connect(postgres.url())
        await connection.execute("DROP DATABASE IF EXISTS office_tickets WITH (FORCE)")
        await connection.close()
        url = await make_database(postgres.url(), "office_tickets", "secret")
        await (await sell(url, 1)).close()
        return url

    return asyncio.run(made())


def test_a_fleet_is_migrated(fleet: str, postgres: PostgresServer, invoke: Invoked) -> None:
    """Expanded before the new code comes, contracted when none of the old is left; tables belong to the service."""
    on_server = ("migrate", AFTER, "--fleet", "--postgres", postgres.url())
    planned = invoke(*on_server, "--plan")
    assert planned.exit_code == 0, planned.output
    assert 'CREATE INDEX CONCURRENTLY "seats__0_by_hall" ON public."seats__0" (hall, number);' in planned.stdout
    assert "contract" not in planned.stdout
    done = invoke(*on_server, "--json")
    assert done.exit_code == 0, done.output
    assert [step["step"] for step in json_lines(done.stdout) if not step["rows"]] == [1, 2, 3, 4, 5, 6]
    assert "nothing to do" in invoke(*on_server).stdout

    with asyncio.Runner() as runner:
        older = runner.run(sell(fleet, 2))
        refused = invoke(*on_server, "--contract")
        assert refused.exit_code == 1
        assert f"while older code runs: process {os.getpid()} on" in refused.output
        assert "Replace these, and contract then; nothing was changed." in refused.output
        runner.run(older.close())
        contracted = invoke(*on_server, "--contract")
        assert contracted.exit_code == 0, contracted.output
        assert contracted.stdout.endswith("Done: 2 steps.\n")
        owners = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tableowner <> 'office_tickets'"
        assert runner.run(_asked(fleet, owners)) == []


async def _asked(url: str, sql: str) -> list[object]:
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(sql)]
    finally:
        await connection.close()


def test_a_fleet_s_own_server_is_found_by_its_data(
    fleet: str, tmp_path: Path, invoke: Invoked, postgres: PostgresServer
) -> None:
    """Where its host says that it is."""
    data = tmp_path / "data"
    (data / "fleet").mkdir(parents=True)
    write_evidence(DataDirectory(data), {"tickets": fleet})
    planned = invoke("migrate", AFTER, "--fleet", "--plan", "--json")
    assert planned.exit_code == 0, planned.output
    steps = json_lines(planned.stdout)
    assert [(step["store"], step["part"], step["step"], step["of"]) for step in steps] == [
        ("tickets", "expand", number, 6) for number in range(1, 7)
    ]


def test_a_fleet_s_own_server_is_started_where_its_host_does_not_run(invoke: Invoked) -> None:
    """On the data that it left; it is gone again afterwards."""
    with own_folder("fleet") as data:
        folder = data / "fleet" / "postgresql"
        folder.mkdir(parents=True)

        async def left() -> None:
            async with postgresql(folder, real_world()) as server:
                url = await make_database(server.url(), "office_tickets", "secret")
                await (await sell(url, 1)).close()
                write_evidence(DataDirectory(data), {"tickets": url})

        asyncio.run(left())
        done = invoke("migrate", AFTER, "--fleet", "--data", str(data))
        assert done.exit_code == 0, done.output
        assert done.stdout.endswith("Done: 6 steps.\n")
        assert not (folder / "postgresql" / "postmaster.pid").exists()

"""What a client meets when the database does not do what it is asked."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import sqlalchemy as sa
from structlog.testing import capture_logs

from colonnade.application import insert
from colonnade.messages import Command
from colonnade.persistence import Tables
from colonnade.persistence.failures import OutcomeUnknown, WriteFailed
from colonnade.persistence.store import Committed
from colonnade.persistence.unit import Unit
from colonnade.presentation import Api, Post
from colonnade.system import Service, System
from colonnade.testing import RunningSystem, running_system

tables = sa.MetaData()
labels = sa.Table(
    "labels", tables, sa.Column("text", sa.String, primary_key=True), sa.Column("copies", sa.Integer, nullable=False)
)


class Print(Command):
    """Print a label once."""

    text: str


@dataclass(frozen=True)
class PrintHandler:
    tables: Tables

    async def __call__(self, command: Print) -> None:
        self.tables.write(insert(labels, text=command.text, copies=1))


office = System(
    "office",
    [Service("printing", handlers=[PrintHandler], tables=tables, api=Api(Post("/labels", Print)))],
)


@pytest_asyncio.fixture
async def system(tmp_path: Path) -> AsyncIterator[RunningSystem]:
    """An office that runs."""
    async with running_system(office, tmp_path) as running:
        yield running


async def test_a_unit_that_the_database_refuses_is_500(system: RunningSystem) -> None:
    """No other try ends otherwise, so none is asked for; the log tells what was refused, the client nothing of it."""
    label = {"text": "fragile"}
    assert (await system.request("POST", "/api/printing/labels", json=label)).status == 204
    with capture_logs() as lines:
        answer = await system.request("POST", "/api/printing/labels", json=label)
    assert (answer.status, answer.json()["type"]) == (500, "urn:problem:colonnade.InternalError")
    assert "retry-after" not in answer.headers
    assert "UNIQUE" not in answer.body.decode()
    (line,) = lines
    assert (line["event"], line["path"]) == ("request failed", "/labels")
    assert "UNIQUE constraint failed" in str(line["exc_info"])
    assert line["correlation_id"] in answer.json()["detail"]


async def test_a_database_that_cannot_write_now_is_503(system: RunningSystem) -> None:
    """With what is wrong and when to come again; once there is room, the same request is carried out."""
    store = system.runtime.services["printing"].store
    await store.define(["PRAGMA max_page_count = 1"])
    label = {"text": "x" * 100_000}
    full = await system.request("POST", "/api/printing/labels", json=label)
    assert (full.status, full.json()["type"]) == (503, "urn:problem:colonnade.StoreFailed")
    assert "FullError" in full.json()["detail"]
    assert int(full.headers["retry-after"]) >= 1
    await store.define(["PRAGMA max_page_count = 1073741823"])
    assert (await system.request("POST", "/api/printing/labels", json=label)).status == 204


async def test_what_has_been_answered_is_answered_whatever_fails_now(
    system: RunningSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that comes again with its key gets its answer though it could not be carried out any more."""
    store = system.runtime.services["printing"].store

    async def failing(unit: Unit) -> Committed:
        raise WriteFailed("printing", "the disk is no disk")

    label, headers = {"text": "once"}, {"Idempotency-Key": "one"}
    first = await system.request("POST", "/api/printing/labels", json=label, headers=headers)
    monkeypatch.setattr(store, "commit", failing)
    again = await system.request("POST", "/api/printing/labels", json=label, headers=headers)
    assert (again.status, again.headers["idempotency-replayed"]) == (first.status, "true")
    other = await system.request("POST", "/api/printing/labels", json=label, headers={"Idempotency-Key": "two"})
    assert other.status >= 500


async def test_a_commit_of_unknown_outcome_is_504(system: RunningSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told to come again without care; with the same key the request is answered by what was committed."""
    store = system.runtime.services["printing"].store
    commit = store.commit

    async def unheard(unit: Unit) -> Committed:
        await commit(unit)
        raise OutcomeUnknown("printing", "the line went dead")

    monkeypatch.setattr(store, "commit", unheard)
    label, headers = {"text": "once"}, {"Idempotency-Key": "one"}
    unknown = await system.request("POST", "/api/printing/labels", json=label, headers=headers)
    assert (unknown.status, unknown.json()["type"]) == (504, "urn:problem:colonnade.OutcomeUnknown")
    assert "retry-after" not in unknown.headers
    assert "Idempotency-Key" in unknown.json()["detail"]
    monkeypatch.undo()
    again = await system.request("POST", "/api/printing/labels", json=label, headers=headers)
    assert (again.status, again.headers["idempotency-replayed"]) == (204, "true")

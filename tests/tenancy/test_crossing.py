"""The tenants try to see, take or spoil what is the other's: same ids, same keys, whatever they get hold of."""

import asyncio
from uuid import UUID

import pytest

from colonnade.brokers.broker import Carried
from colonnade.caching.sessions import Sessions
from colonnade.system.admin.operations import (
    DiscardDeadLetters,
    Operation,
    OperationFailed,
    RetryDeadLetters,
    SteerSaga,
)
from colonnade.system.admin.perform import perform
from colonnade.system.admin.reports import Finished
from colonnade.system.admin.with_code import administered
from tests.tenancy.board.archive import heard
from tests.tenancy.houses import NOTE, WORLD, House, Street
from tests.tenancy.messages import enveloped

OTHER = UUID(int=2)


async def test_the_same_ids_are_others(both: Street) -> None:
    """Aggregates, read models, sagas, messages, calls between services: each sees its own, and not one thing else."""
    heard.clear()
    for text in ("one", "two"):
        for house in (both.acme, both.bolt):
            before = (await house.pin(f"{house.name} {text}")).json()
            assert before == ("" if text == "one" else f"{house.name} one")
    await both.acme.pin("acme only", OTHER)
    await both.all.settled()
    assert (await both.acme.get("notes")).json() == ["acme two", "acme only"]
    assert (await both.bolt.get("notes")).json() == ["bolt two"]
    assert (await both.bolt.get(f"notes/{OTHER}")).status == 404
    assert (await both.acme.get("filed")).json() == ["acme two", "acme only"]
    assert (await both.bolt.get("filed")).json() == ["bolt two"]
    assert {tenant for tenant, text in heard if text.startswith("acme")} == {"acme"}
    assert {tenant for tenant, text in heard if text.startswith("bolt")} == {"bolt"}
    assert sorted(text for _, text in heard) == ["acme one", "acme only", "acme two", "bolt one", "bolt two"]


async def test_an_idempotency_key_is_the_tenants_own(both: Street) -> None:
    """The same key for the same route is another one: it is no repetition, and its answer is not the other's."""
    await both.acme.pin("before")
    assert (await both.acme.pin("acme", idempotency_key="k")).json() == "before"
    answer = await both.bolt.pin("bolt", idempotency_key="k")
    assert (answer.status, answer.json()) == (200, "")
    assert "idempotency-replayed" not in answer.headers
    again = await both.acme.pin("acme", idempotency_key="k")
    assert (again.json(), again.headers["idempotency-replayed"]) == ("before", "true")
    assert (await both.bolt.pin("acme", idempotency_key="k")).status == 422


async def test_a_token_of_the_other_says_nothing(both: Street) -> None:
    """It neither lets a read wait for what the other has done, nor makes it read that."""
    tokens = [(await both.acme.pin(f"acme {number}")).headers["colonnade-token"] for number in range(5)]
    own = (await both.bolt.pin("bolt")).headers["colonnade-token"]
    await both.all.settled()
    for target in (f"anew/{NOTE}", f"notes/{NOTE}", f"public/{NOTE}"):
        async with asyncio.timeout(20):
            answer = await both.bolt.get(target, colonnade_token=tokens[-1])
        assert (answer.status, answer.json()) == (200, "bolt")
        assert (await both.bolt.get(target, colonnade_token=own)).json() == "bolt"


async def test_kept_answers_are_the_tenants_own(both: Street) -> None:
    """The same page is kept for each apart, known by its own validator, and ended by its own tenant's events alone."""
    for target in (f"notes/{NOTE}", f"public/{NOTE}"):
        for house in (both.acme, both.bolt):
            await house.pin(house.name)
        await both.all.settled()
        kept = await both.acme.get(target)
        etag = kept.headers["etag"]
        assert "colonnade-tenant" in kept.headers["vary"].split(", ")
        assert (await both.acme.get(target, if_none_match=etag)).status == 304
        other = await both.bolt.get(target, if_none_match=etag)
        assert (other.status, other.json()) == (200, "bolt")
        await both.acme.pin("acme anew")
        await both.all.settled()
        assert (await both.acme.get(target)).json() == "acme anew"
        assert (await both.bolt.get(target, if_none_match=other.headers["etag"])).status == 304


async def test_pages_outside_are_purged_for_their_tenant(both: Street) -> None:
    """A surrogate key names the tenant, so that what changes for one purges nothing of the other's."""
    await both.acme.pin("acme")
    await both.bolt.pin("bolt")
    await both.all.settled()
    keys = {
        house.name: (await house.get(f"public/{NOTE}")).headers["surrogate-key"] for house in (both.acme, both.bolt)
    }
    assert keys == {"acme": "acme/notes.pinned", "bolt": "bolt/notes.pinned"}
    both.purged.keys.clear()
    await both.acme.pin("acme anew")
    async with asyncio.timeout(20):
        while "acme/notes.pinned" not in both.purged.keys:
            await WORLD.sleep(0.01)
    await both.all.settled()
    assert {key.partition("/")[0] for key in both.purged.keys} == {"acme"}


async def test_a_message_that_comes_to_the_others_inbox_is_kept_aside(both: Street) -> None:
    """Should anything ever carry it there: its envelope says whose it is, and the inbox does not handle it."""
    heard.clear()
    await both.acme.pin("acme")
    await both.all.settled()
    await both.bolt.inside.runtime.engines.broker.publish([_event("acme", b'{"note_id":1}')])
    archive = both.bolt.inside.runtime.services["archive"].store
    async with asyncio.timeout(20):
        while not (kept := await archive.inbox.kept_aside()):
            await WORLD.sleep(0.01)
    assert kept[0].reason == "It is a message of acme, and came to the inbox of bolt."
    await both.all.settled()
    assert [tenant for tenant, _ in heard] == ["acme"]
    assert (await both.bolt.get("filed")).json() == []


async def test_messages_are_published_for_their_tenant(both: Street) -> None:
    """What one publishes on the broker that they share reaches none of the other's inboxes."""
    heard.clear()
    await both.acme.pin("acme")
    await both.all.settled()
    for service in both.bolt.inside.runtime.services.values():
        assert await service.store.inbox.chains() == []
    assert heard == [("acme", "acme")]


async def test_dead_letters_are_the_tenants_own(both: Street) -> None:
    """What is parked for one is neither shown to the other's operator nor retried or discarded by him."""
    broker = both.acme.inside.runtime.engines.broker
    await broker.publish([_event("acme", b'{"note_id":"no id"}')])
    theirs = both.acme.inside.runtime.services["archive"].store
    async with asyncio.timeout(20):
        while not (found := await theirs.inbox.parked()):
            await WORLD.sleep(0.01)
    (parked,) = found
    archive = both.bolt.inside.runtime.services["archive"].store
    assert await archive.inbox.parked() == []
    assert await archive.inbox.parked_message(parked.row) is None
    with pytest.raises(OperationFailed):
        await _performed(both.bolt, DiscardDeadLetters("archive", (parked.row,)))
    retried = await _performed(both.bolt, RetryDeadLetters("archive"))
    assert retried.changed == 0
    assert await theirs.inbox.parked() == [parked]
    assert (await _performed(both.acme, DiscardDeadLetters("archive", (parked.row,)))).changed == 1


async def test_sagas_are_the_tenants_own(both: Street) -> None:
    """Under the same key each has its own instance; who steers one's finds nothing of the other's."""
    await both.acme.pin("acme")
    await both.all.settled()
    streams = {
        house.name: await house.inside.runtime.services["notes"].store.log.streams("FileNote")
        for house in (both.acme, both.bolt)
    }
    (stream,) = streams["acme"]
    assert streams["bolt"] == []
    id = UUID(stream.partition("/")[2])
    with pytest.raises(OperationFailed, match="notes has no saga"):
        await _performed(both.bolt, SteerSaga("notes", "FileNote", id, "close"))


async def test_a_session_is_the_tenants_own(both: Street) -> None:
    """Its id, presented to the other, is nobody's; and the same principal's sessions there are not ended with his."""
    sessions = {
        house.name: Sessions(house.inside.runtime.engines.queries.store, WORLD) for house in (both.acme, both.bolt)
    }
    id, own = await sessions["acme"].begin("ann"), await sessions["bolt"].begin("ann")
    assert await sessions["bolt"].of(id) is None
    assert await sessions["bolt"].rotate(id) is None
    await sessions["bolt"].end(id)
    session = await sessions["acme"].of(id)
    assert session is not None
    assert session.principal == "ann"
    await sessions["acme"].end_all("ann")
    assert await sessions["acme"].of(id) is None
    assert await sessions["bolt"].of(own) is not None


async def test_histories_differ(both: Street) -> None:
    """So that no position of one is ever taken for one of the other's."""
    histories = {
        service.store.history for house in (both.acme, both.bolt) for service in house.inside.runtime.services.values()
    }
    assert len(histories) == 4


def _event(tenant: str, data: bytes) -> Carried:
    """An event of the notes of `tenant`, from a store that nobody knows yet."""
    return Carried("notes", WORLD.ids.new(), "notes.events", 0, 1, 0, "k", enveloped(tenant, data))


async def _performed(house: House, operation: Operation) -> Finished:
    """How `operation` of the house's own operator ended."""
    reports = [report async for report in perform(operation, administered(house.inside.runtime), WORLD)]
    assert isinstance(reports[-1], Finished)
    return reports[-1]

"""Two tenants in a fleet: processes of services and the gateway, PostgreSQL, NATS and Valkey, all shared by both."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from colonnade.discovery import Address
from colonnade.discovery.files import FileRegistry
from colonnade.presentation.upstream import Upstream, UpstreamAnswer
from colonnade.security.tenants import Tenant
from colonnade.system.admin.evidence import open_to_read, read_evidence
from colonnade.system.admin.offline import open_stores
from colonnade.system.admin.operations import SteerSaga
from colonnade.system.admin.perform import perform
from colonnade.system.admin.reports import Finished
from colonnade.system.hosts.fleet.host import FleetSettings
from colonnade.system.hosts.servers.nats import NatsServer
from colonnade.system.hosts.servers.ports import free_port
from colonnade.system.hosts.servers.postgresql import PostgresServer
from colonnade.system.hosts.servers.valkey import ValkeyServer
from tests.fleet.fleets import Fleet, running
from tests.tenancy.houses import NOTE, WORLD

BOARD = "tests.tenancy.board:board"
WITHIN_SECONDS = 30.0


@pytest.mark.timeout(120)
async def test_tenants_of_a_fleet_do_not_meet(
    postgres: PostgresServer, nats: NatsServer, valkey: ValkeyServer, tmp_path: Path
) -> None:
    """Same ids, keys and tokens in both, over two instances of a service: each has its own, and quotas of its own."""
    settings = FleetSettings(
        BOARD,
        tmp_path,
        port=free_port(),
        postgres=postgres.url(),
        broker_url=nats.url,
        valkey=valkey.url,
        replicas={"notes": 2},
        tenants=[Tenant("acme", requests=500), Tenant("bolt", requests=500), Tenant("carl", requests=1, events=1)],
    )
    async with running(settings) as fleet:
        await _each_has_its_own(fleet)
        await _guesses_are_refused(fleet)
        await _quotas_are_their_own(fleet)
        await _no_process_is_reached_around_the_door(tmp_path)
        await _an_operator_acts_on_one_tenant(tmp_path)
        await _stores_are_schemas_of_their_own(tmp_path)


async def _each_has_its_own(fleet: Fleet) -> None:
    tokens = {}
    for text in ("one", "two"):
        for tenant in ("acme", "bolt"):
            answer = await _pin(fleet, tenant, f"{tenant} {text}", {"idempotency-key": text})
            assert (answer.status, msgspec.json.decode(answer.body)) == (200, "" if text == "one" else f"{tenant} one")
            tokens[tenant] = _header(answer, b"colonnade-token")
    again = await _pin(fleet, "acme", "acme two", {"idempotency-key": "two"})
    assert _header(again, b"idempotency-replayed") == "true"
    for tenant, other in (("acme", "bolt"), ("bolt", "acme")):
        for _ in range(4):  # both instances, and what they keep
            for target in (f"anew/{NOTE}", f"notes/{NOTE}", f"public/{NOTE}"):
                assert await _read(fleet, tenant, target, tokens[tenant]) == f"{tenant} two"
                # The other's token says nothing, so that it neither waits nor sees more
                assert await _read(fleet, tenant, target, tokens[other]) == f"{tenant} two"
        async with asyncio.timeout(WITHIN_SECONDS):
            # Through the saga and NATS to the other service, and asked back from it over HTTP
            while await _read(fleet, tenant, "filed") != [f"{tenant} two"]:
                await WORLD.sleep(0.05)


async def _guesses_are_refused(fleet: Fleet) -> None:
    for names in ([], [b"acme", b"bolt"], [b"ACME"], [b"../bolt"], [b"acme/"], [b"a" * 300], [b"dora"]):
        headers = [(b"colonnade-tenant", name) for name in names]
        answer = await fleet.request("GET", "/api/notes/notes", headers=headers)
        assert answer.status == (404 if names == [b"dora"] else 400)
        assert b"acme" not in answer.body


async def _quotas_are_their_own(fleet: Fleet) -> None:
    statuses = [(await _ask(fleet, "carl", "notes")).status for _ in range(3)]
    assert 429 in statuses
    assert (await _ask(fleet, "bolt", "notes")).status == 200
    await WORLD.sleep(1.0)
    assert (await _pin(fleet, "carl", "carl")).status == 200
    async with asyncio.timeout(WITHIN_SECONDS):
        while (answer := await _pin(fleet, "carl", "carl")).status != 403:
            await WORLD.sleep(0.5)  # the other instance has not looked yet, or there were too many in this second
    assert b"which is its quota" in answer.body
    assert (await _pin(fleet, "acme", "acme three")).status == 200


async def _no_process_is_reached_around_the_door(data: Path) -> None:
    (address, *_) = FileRegistry(data / "fleet" / "registry.json", WORLD.clock).instances("notes")
    for target in ("/-/messages/archive.Filed", "/-/outbox/notes?history=1", "/api/notes/notes"):
        assert (await _direct(address, target, [])).status == 400
        assert (await _direct(address, target, [(b"colonnade-tenant", b"dora")])).status == 404


async def _an_operator_acts_on_one_tenant(data: Path) -> None:
    for tenant in ("acme", "bolt"):
        async with open_stores(data / "tenants" / tenant, WORLD) as services:
            texts = [event.data for event in await services["notes"].store.log.read(names=["notes.Pinned"])]
            assert texts
            assert all(tenant.encode() in text for text in texts)
            note, *_ = await services["notes"].store.log.streams("FileNote")
            saga = SteerSaga("notes", "FileNote", UUID(note.partition("/")[2]))
            assert [type(report) async for report in perform(saga, services, WORLD)] == [Finished]


async def _stores_are_schemas_of_their_own(data: Path) -> None:
    assert read_evidence(data) is None
    for tenant in ("acme", "bolt"):
        async with open_to_read(data / "tenants" / tenant, ["notes"], WORLD) as stores:
            events = [event.data for event in await stores["notes"].log.read() if event.name == "notes.Pinned"]
            assert events
            assert all(tenant.encode() in event for event in events)
    addresses = read_evidence(data / "tenants" / "acme")
    assert addresses is not None
    connection = await asyncpg.connect(addresses["notes"].partition("#")[0])
    schemas = await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'tenant%' ORDER BY 1")
    instances = await connection.fetch(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE "
        "'colonnade %' GROUP BY split_part(application_name, ' ', 2)"
    )
    nobody = await connection.fetchval("SELECT to_regclass('public.store')")
    await connection.close()
    assert nobody is None
    assert [schema["nspname"] for schema in schemas] == ["tenant_acme", "tenant_bolt", "tenant_carl"]
    assert len(instances) == 2
    assert all(row["count"] <= 7 for row in instances)


async def _ask(fleet: Fleet, tenant: str, target: str, token: str | None = None) -> UpstreamAnswer:
    headers = [(b"colonnade-tenant", tenant.encode())]
    if token is not None:
        headers.append((b"colonnade-token", token.encode()))
    return await _answered(fleet, "GET", f"/api/notes/{target}", b"", headers)


async def _read(fleet: Fleet, tenant: str, target: str, token: str | None = None) -> Any:
    answer = await _ask(fleet, tenant, target, token)
    assert answer.status == 200, answer
    return msgspec.json.decode(answer.body)


async def _pin(fleet: Fleet, tenant: str, text: str, more: Mapping[str, str] | None = None) -> UpstreamAnswer:
    key = f"{WORLD.ids.new()}"
    headers = {"content-type": "application/json", "colonnade-tenant": tenant, "idempotency-key": key, **(more or {})}
    body = msgspec.json.encode({"text": text})
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return await _answered(fleet, "POST", f"/api/notes/notes/{NOTE}", body, raw)


async def _answered(
    fleet: Fleet, method: str, target: str, body: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> UpstreamAnswer:
    async with asyncio.timeout(WITHIN_SECONDS):
        # A busy machine may ask to come again
        while (answer := await fleet.request(method, target, body, headers)).status >= 500:
            await WORLD.sleep(0.1)
    return answer


async def _direct(address: Address, target: str, headers: Sequence[tuple[bytes, bytes]]) -> UpstreamAnswer:
    upstream = Upstream("notes", address)
    try:
        return await upstream.request("GET", target.encode(), headers)
    finally:
        upstream.close()


def _header(answer: UpstreamAnswer, name: bytes) -> str:
    return dict(answer.headers)[name].decode()

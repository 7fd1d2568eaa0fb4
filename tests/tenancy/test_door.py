"""The door: whose request it is, and nobody else's name, however it is written."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colonnade.gateway.tenancy import TenantDoor
from colonnade.security.tenants import LONGEST_NAME, MOST_TENANTS, InvalidTenant, Tenant, is_tenant_name, read_tenants
from colonnade.testing.http import request
from tests.tenancy.doors import Room
from tests.tenancy.houses import NOTE, Street

GUESSES = {
    "empty": "",
    "upper case": "ACME",
    "mixed case": "Acme",
    "space before": " acme",
    "space behind": "acme ",
    "two in one": "acme,bolt",
    "a list": "acme, acme",
    "slash": "acme/",
    "the other's directory": "../bolt",
    "deeper": "acme/../bolt",
    "encoded": "%61cme",
    "dot": "acme.bolt",
    "hyphen": "acme-bolt",
    "wildcard": "*",
    "NATS wildcard": ">",
    "NUL": "acme\x00",
    "new line": "acme\n",
    "SQL": 'acme"; DROP SCHEMA tenant_bolt CASCADE; --',
    "quoted": '"acme"',
    "long": "a" * 300,
    "one too long": "a" * (LONGEST_NAME + 1),
    "letters of others": "ácme",
}


@pytest.mark.parametrize("guess", GUESSES.values(), ids=GUESSES.keys())
async def test_a_guess_is_refused_and_told_nothing(embedded: Street, tmp_path: Path, guess: str) -> None:
    """With 400, before any service sees it; no tenant is named, and nothing is made anywhere."""
    await embedded.acme.pin("acme")
    await embedded.all.settled()
    before = sorted(tmp_path.rglob("*"))
    for method, body in (("GET", None), ("POST", {"text": "guessed"})):
        answer = await embedded.all.request(
            method,
            f"/api/notes/notes/{NOTE}",
            headers={"colonnade-tenant": guess},
            **({} if body is None else {"json": body}),
        )
        assert (answer.status, answer.json()["type"]) == (400, "urn:problem:colonnade.MalformedTenant")
        assert b"acme" not in answer.body
        assert b"bolt" not in answer.body
    assert (await embedded.acme.get("notes")).json() == ["acme"]
    assert sorted(tmp_path.rglob("*")) == before


async def test_a_request_names_its_tenant_once(embedded: Street) -> None:
    """Without the header, or with two of them, the same one or not, it is refused with 400."""
    for names in ([], ["acme", "acme"], ["acme", "bolt"], ["acme", ""]):
        answer = await embedded.all.request(
            "GET", "/api/notes/notes", headers=[("colonnade-tenant", name) for name in names]
        )
        assert (answer.status, answer.json()["type"]) == (400, "urn:problem:colonnade.TenantMissing")
        assert answer.headers["cache-control"] == "no-store"


async def test_a_name_that_nobody_has_is_unknown(embedded: Street) -> None:
    """With 404; it does not tell who is there."""
    answer = await embedded.all.request("GET", "/api/notes/notes", headers={"colonnade-tenant": "carl"})
    assert (answer.status, answer.json()["type"]) == (404, "urn:problem:colonnade.UnknownTenant")
    assert b"acme" not in answer.body


async def test_the_health_of_all_needs_no_name(embedded: Street) -> None:
    """Whoever watches the process asks for it; that of a service is a tenant's."""
    assert (await embedded.all.request("GET", "/health/live")).status == 200
    assert (await embedded.all.request("GET", "/metrics")).status == 200
    assert (await embedded.all.request("GET", "/api/notes/health/live")).status == 400
    assert (await embedded.acme.get("health/live")).status == 200


@given(st.lists(st.binary(max_size=40), max_size=3))
async def test_only_the_very_name_opens(values: list[bytes]) -> None:
    """Whatever bytes the headers have: a room is entered by its one name, all else is refused before any."""
    rooms = {"acme": Room(), "bolt": Room()}
    common = Room()
    door = TenantDoor(rooms, common, {})
    headers = [("colonnade-tenant", value.decode("latin-1")) for value in values]
    answer = await request(door, "GET", "/api/notes/notes", headers=headers)
    entered = [name for name, room in rooms.items() if room.entered]
    if len(values) == 1 and values[0] in (b"acme", b"bolt"):
        assert (answer.status, entered) == (200, [values[0].decode()])
    else:
        assert answer.status in (400, 404)
        assert entered == []
    assert not common.entered


@given(st.text(max_size=50) | st.from_regex(r"[a-z][a-z0-9_]*", fullmatch=True))
def test_a_name_stays_within_its_part(name: str) -> None:
    """What may be a name is one part of a path, a schema, a subject and a key, and the same in each of them."""
    if not is_tenant_name(name):
        with pytest.raises(InvalidTenant):
            read_tenants([name])
        return
    assert read_tenants([name]) == [Tenant(name)]
    assert Path("data", name).parts == ("data", name)
    assert Path("data", name).resolve().parent == Path("data").resolve()
    assert name == name.lower()
    assert len(f"tenant_{name}".encode()) < 63
    assert not set(name) & set("./\\-: \"'%*>#?&=,;\x00")


@given(st.text(st.characters(exclude_characters="="), max_size=60))
def test_what_is_given_is_read_or_refused_in_a_sentence(given: str) -> None:
    """Nothing else is raised, and what was read says what was given."""
    name, _, quotas = given.partition(":")
    if is_tenant_name(name) and quotas == "" and ":" not in given:
        assert read_tenants([given]) == [Tenant(name)]
        return
    with pytest.raises(InvalidTenant, match=r"(?s).+: .+; .+\."):
        read_tenants([given])


def test_tenants_are_read_with_their_quotas() -> None:
    """In either order, one or embedded."""
    assert read_tenants(["acme", "bolt:requests=50", "carl:events=1000000,requests=5"]) == [
        Tenant("acme"),
        Tenant("bolt", requests=50),
        Tenant("carl", requests=5, events=1_000_000),
    ]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["acme", "acme"], "acme: is named twice"),
        (["acme:"], "'' is no quota"),
        (["acme:speed=1"], "'speed' is no quota, or there twice; write it as acme:requests=50,events=1000000."),
        (["acme:events=1,events=2"], "'events' is no quota, or there twice"),
        (["acme:requests=0"], "'0' is no number of requests; give one from 1 to 10000."),
        (["acme:requests=1_0"], "'1_0' is no number of requests"),
        (["acme:events=-1"], "'-1' is no number of events"),
        (["Acme"], "'Acme': is no name of a tenant; take up to 32 lower-case letters, digits and underscores"),
    ],
)
def test_what_is_wrong_with_a_tenant_is_told(given: list[str], says: str) -> None:
    """With what was given, why it is wrong, and what to do."""
    with pytest.raises(InvalidTenant) as refused:
        read_tenants(given)
    assert says in str(refused.value)


def test_fifty_is_the_limit() -> None:
    """Beyond it the sentence of the limits is told."""
    names = [f"t{number}" for number in range(MOST_TENANTS)]
    assert len(read_tenants(names)) == MOST_TENANTS
    with pytest.raises(InvalidTenant) as refused:
        read_tenants([*names, "one_more"])
    assert str(refused.value) == (
        "51 tenants: there are up to 50 tenants by schema; beyond that take a database per tenant, sized first: start "
        "another system for them."
    )

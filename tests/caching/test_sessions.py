"""Who is logged in, and who is not."""

from dataclasses import replace
from pathlib import Path

import pytest

from colonnade.caching import CacheStore
from colonnade.caching.sessions import Sessions, SessionsAway
from colonnade.system.hosts.servers.valkey import valkey_server
from colonnade.world import World, real_world
from tests.caching.clocks import SetClock
from tests.caching.valkeys import running_cache, well

_WORLD = real_world()


def at(clock: SetClock) -> World:
    """The world at a time that is set by hand."""
    return replace(_WORLD, clock=clock)


async def test_a_session_is_known_by_its_id_until_it_ends(cache: CacheStore) -> None:
    """Who has the id is its principal; once it has ended, or under another id, nobody is."""
    sessions = Sessions(cache, _WORLD)
    ann, bob = await sessions.begin("ann"), await sessions.begin("bob")
    found = await sessions.of(ann)
    assert found is not None
    assert found.principal == "ann"
    await sessions.end(ann)
    assert await sessions.of(ann) is None
    assert await sessions.of("guessed") is None
    assert await sessions.of(bob) is not None


async def test_ids_cannot_be_guessed_nor_read_from_the_store(cache: CacheStore) -> None:
    """An id has 256 bits of the system's randomness, and is itself no key of the store."""
    sessions = Sessions(cache, _WORLD)
    ids = {await sessions.begin("ann") for _ in range(20)}
    assert len(ids) == 20
    assert all(len(id) == 43 for id in ids)
    assert not any([isinstance(await cache.get(f"session:{id}"), bytes) for id in ids])


async def test_use_lengthens_a_session_up_to_its_longest_time(cache: CacheStore) -> None:
    """Used, it outlives its idle time; used for ever, it still ends."""
    clock = SetClock()
    sessions = Sessions(cache, at(clock), idle_seconds=60, longest_seconds=300)
    id = await sessions.begin("ann")
    for _ in range(7):
        clock.jump(40)
        session = await sessions.of(id)
        assert session is not None
        assert session.used == clock.micros()
    clock.jump(40)
    assert await sessions.of(id) is None


async def test_a_rotated_session_has_a_new_id_alone(cache: CacheStore) -> None:
    """The new id is the same session, since the same moment; the old one is of no use."""
    clock = SetClock()
    sessions = Sessions(cache, at(clock))
    old = await sessions.begin("ann")
    begun = clock.micros()
    clock.jump(5)
    new = await sessions.rotate(old)
    assert new is not None
    assert new != old
    assert await sessions.of(old) is None
    session = await sessions.of(new)
    assert session is not None
    assert (session.principal, session.begun) == ("ann", begun)
    assert await sessions.rotate(old) is None


async def test_all_sessions_of_one_principal_end_together(cache: CacheStore) -> None:
    """Every device of theirs is logged out, and nobody else's."""
    sessions = Sessions(cache, _WORLD)
    phone, laptop, other = [await sessions.begin(who) for who in ("ann", "ann", "bob")]
    await sessions.end_all("ann")
    assert [await sessions.of(id) is None for id in (phone, laptop, other)] == [True, True, False]
    assert await sessions.of(await sessions.begin("ann")) is not None


class Interrupting:
    """A cache in which something happens before each write."""

    def __init__(self, store: CacheStore, sessions: Sessions, id: str) -> None:
        self._store, self._sessions, self._id = store, sessions, id
        self.get, self.delete, self.invalidate, self.health = store.get, store.delete, store.invalidate, store.health

    async def set(self, key: str, value: bytes, seconds: float, **more: object) -> bool:
        """End the session, then write."""
        await self._sessions.end(self._id)
        return await self._store.set(key, value, seconds, **more)  # type: ignore[arg-type]


async def test_a_session_that_ends_while_it_is_used_stays_ended(cache: CacheStore) -> None:
    """Noting the use of a session does not bring it back to life when it ended meanwhile."""
    clock = SetClock()
    sessions = Sessions(cache, at(clock), idle_seconds=60)
    id = await sessions.begin("ann")
    clock.jump(30)
    await Sessions(Interrupting(cache, sessions, id), at(clock), idle_seconds=60).of(id)
    assert await sessions.of(id) is None


async def test_without_its_store_nobody_is_logged_in(tmp_path: Path) -> None:
    """It fails closed: with Valkey killed none is found, begun, rotated or ended, and a restart has logged all out."""
    async with valkey_server(tmp_path, _WORLD) as server, running_cache(server.url, "s") as cache:
        sessions = Sessions(cache, _WORLD)
        id = await sessions.begin("ann")
        await server.kill()
        assert await sessions.of(id) is None
        assert await sessions.rotate(id) is None
        with pytest.raises(SessionsAway, match="begun"):
            await sessions.begin("ann")
        with pytest.raises(SessionsAway, match="ended"):
            await sessions.end(id)
        await server.start()
        await well(cache)
        assert await sessions.of(id) is None
        assert await sessions.of(await sessions.begin("ann")) is not None

"""Time, identifiers and randomness come through one door."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from colonnade.world import datetime_of, micros_of, real_world, text_of, uuid_of


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_and_moments_are_the_same(moment: datetime) -> None:
    """A moment kept as microseconds comes back exactly."""
    assert datetime_of(micros_of(moment)) == moment


def test_ids_sort_by_the_time_of_their_making() -> None:
    """Identifiers are of version 7, differ, and begin with the millisecond of the clock."""
    world = real_world()
    before = world.clock.micros() // 1000
    ids = [world.ids.new() for _ in range(1000)]
    after = world.clock.micros() // 1000
    assert len(set(ids)) == 1000
    assert {(id.version, id.variant) for id in ids} == {(7, "specified in RFC 4122")}
    assert all(before <= id.int >> 80 <= after for id in ids)


@given(st.uuids())
def test_an_identifier_is_written_as_python_writes_it(id: UUID) -> None:
    """In text and back from bytes, however quickly it is made."""
    assert text_of(id) == str(id)
    assert uuid_of(id.bytes) == id


def test_the_clock_is_the_machines() -> None:
    """The time has a zone and agrees with itself; the monotonic one does not go back."""
    clock = real_world().clock
    assert abs(clock.now() - datetime_of(clock.micros())) < timedelta(seconds=1)
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


async def test_sleeping_no_time_returns_at_once() -> None:
    """Nothing and less than nothing are no wait."""
    world = real_world()
    started = world.clock.monotonic()
    await world.sleep(0)
    await world.sleep(-1)
    assert world.clock.monotonic() - started < 1

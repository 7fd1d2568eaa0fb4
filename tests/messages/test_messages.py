"""Messages are immutable, named once, and come back from the store as they went in."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colonnade.messages import Event, Message, Positive, Value
from colonnade.messages.codec import MalformedMessage, MessageCodec, NewerVersion
from colonnade.messages.envelope import Envelope, MalformedEnvelope
from colonnade.messages.names import DuplicateName, MessageNames, UnknownMessage, UnnamedMessage
from colonnade.messages.strict import UnknownField, unknown_fields_check

DEEP = b"[" * 50_000 + b"]" * 50_000


class Money(Value):
    """An amount."""

    amount: Decimal


class Card(Value, tag="card"):
    """A way to pay."""

    number: str


class Cash(Value, tag="cash"):
    """A way to pay."""

    change: Money | None = None


class Weighed(Event, version=2):
    """Something of every kind of field that needs a look."""

    id: UUID
    at: datetime
    kilos: float
    prices: tuple[Money, ...]
    paid: Card | Cash
    by_name: dict[str, list[Decimal]] = msgspec.field(default_factory=dict)
    pair: tuple[int, Decimal] | None = None
    maybe: list[Decimal] | None = None
    pieces: Positive = 1


def codec() -> MessageCodec:
    """A codec that knows the messages of this module."""
    names = MessageNames()
    names.bind("shop", [Weighed], {})
    return MessageCodec(names)


decimals = st.decimals(allow_nan=False, allow_infinity=False)
moments = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))]))
money = st.builds(Money, decimals)
weighed = st.builds(
    Weighed,
    id=st.uuids(),
    at=moments,
    kilos=st.floats(allow_nan=False, allow_infinity=False),
    prices=st.lists(money, max_size=3).map(tuple),
    paid=st.one_of(st.builds(Card, st.text()), st.builds(Cash, st.none() | money)),
    by_name=st.dictionaries(st.text(max_size=3), st.lists(decimals, max_size=2), max_size=2),
    pair=st.none() | st.tuples(st.integers(-(2**63), 2**63), decimals),
    maybe=st.none() | st.lists(decimals, max_size=2),
    pieces=st.integers(1, 10),
)


@given(weighed)
def test_what_is_stored_comes_back(message: Weighed) -> None:
    """Encoding and decoding by stored name gives an equal message."""
    stored = codec().encode(message)
    assert (stored.name, stored.version) == ("shop.Weighed", 2)
    assert codec().decode(*stored) == message


def with_field(**changed: Any) -> Weighed:
    """A message that is well but for the changed fields."""
    fields: dict[str, Any] = {
        "id": UUID(int=1),
        "at": datetime(2017, 12, 24, tzinfo=UTC),
        "kilos": 1.0,
        "prices": (),
        "paid": Card("1"),
    }
    return Weighed(**(fields | changed))


@pytest.mark.parametrize(
    ("message", "place"),
    [
        (with_field(kilos=float("nan")), "$.kilos"),
        (with_field(at=datetime(2017, 12, 24)), "$.at"),
        (with_field(prices=(Money(Decimal(1)), Money(Decimal("Infinity")))), "$.prices[1].amount"),
        (with_field(paid=Cash(Money(Decimal("sNaN")))), "$.paid.change.amount"),
        (with_field(by_name={"a": [Decimal(1), Decimal("NaN")]}), "$.by_name['a'][1]"),
        (with_field(pair=(1, Decimal("NaN"))), "$.pair[1]"),
        (with_field(maybe=[Decimal("NaN")]), "$.maybe[0]"),
    ],
)
def test_what_is_no_number_or_no_moment_is_not_stored(message: Weighed, place: str) -> None:
    """NaN, infinities and times without a zone are refused with their place, wherever they hide."""
    with pytest.raises(MalformedMessage) as refused:
        codec().encode(message)
    assert f"`{place}`" in str(refused.value)


def test_nan_in_stored_data_is_refused() -> None:
    """What others wrote is guarded as well."""
    raw = codec().encode(with_field()).data.replace(b'"prices":[]', b'"prices":[{"amount":"NaN"}]')
    with pytest.raises(MalformedMessage):
        codec().decode("shop.Weighed", 2, raw)


def test_unknown_fields_of_stored_data_are_tolerated() -> None:
    """A message written by newer code with one field more can still be read."""
    raw = codec().encode(with_field()).data[:-1] + b',"colour":"red"}'
    assert codec().decode("shop.Weighed", 2, raw) == with_field()


def test_a_newer_version_is_told_apart() -> None:
    """A version above the one that the code knows is an error of its own."""
    with pytest.raises(NewerVersion, match=r"shop.Weighed has version 3, this code knows 2"):
        codec().decode("shop.Weighed", 3, b"{}")


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"id": 1}', b"\xff", b'{"x": %s}' % DEEP])
def test_malformed_data_is_named(data: bytes) -> None:
    """Bytes that are no such message say which message they are not."""
    with pytest.raises(MalformedMessage, match=r"The data is not a shop.Weighed"):
        codec().decode("shop.Weighed", 1, data)


def test_messages_cannot_be_changed() -> None:
    """Assigning to a field raises."""
    with pytest.raises(AttributeError):
        with_field().kilos = 2.0  # type: ignore[misc]


def test_names_are_bound_once() -> None:
    """Two classes cannot share a name, unless one keeps another; unknown names and classes say what to do."""

    class Other(Event):
        """Another class."""

    names = MessageNames()
    names.bind("shop", [Weighed], {})
    with pytest.raises(DuplicateName, match="rename one"):
        names.bind("shop", [Other], {Other: "Weighed"})
    names.bind("shop", [Other], {Other: "Renamed"})
    assert names.class_of("shop.Renamed") is Other
    assert Other in names
    assert set(names) == {Weighed, Other}
    with pytest.raises(UnknownMessage, match="keep the stored name"):
        names.class_of("shop.Gone")
    with pytest.raises(UnnamedMessage, match="belongs to no service"):
        names.name_of(Message)


def envelope(**changed: Any) -> Envelope:
    """An envelope around nothing much."""
    fields: dict[str, Any] = {
        "specversion": "1.0",
        "id": UUID(int=1),
        "source": "shop",
        "type": "shop.Weighed",
        "subject": "Scale/1",
        "time": datetime(2017, 12, 24, tzinfo=UTC),
        "data": msgspec.Raw(b'{"a":1}'),
        "correlationid": UUID(int=2),
    }
    return Envelope(**(fields | changed))


def test_an_envelope_is_a_cloudevent() -> None:
    """The JSON has the attributes that CloudEvents 1.0 requires, and only those that are set."""
    document = msgspec.json.decode(envelope(notafter=None).encode())
    assert {"specversion", "id", "source", "type", "subject", "time", "data"} <= document.keys()
    assert document["specversion"] == "1.0"
    assert document["data"] == {"a": 1}
    assert "notafter" not in document
    assert all(name.isalnum() and name.islower() for name in document)


def test_an_envelope_comes_back() -> None:
    """Decoding what was encoded gives the same attributes and data."""
    sent = envelope(replyto="ordering", replykey="saga:Fulfil|1|step|do", causationid=UUID(int=3))
    received = Envelope.decode(sent.encode())
    assert bytes(received.data) == bytes(sent.data)
    assert (received.replyto, received.replykey, received.causationid) == (sent.replyto, sent.replykey, UUID(int=3))


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff\xfe", b'{"specversion": 1}', b'{"data": %s}' % DEEP])
def test_bytes_that_are_no_envelope_are_refused(raw: bytes) -> None:
    """Malformed bytes raise an error of their own."""
    with pytest.raises(MalformedEnvelope, match="not a CloudEvents"):
        Envelope.decode(raw)


@pytest.mark.parametrize("field", ["time", "notafter"])
def test_a_moment_without_its_zone_is_refused(field: str) -> None:
    """Nobody knows how old such a message is, or until when it may be handled."""
    raw = envelope(**{field: datetime(2017, 12, 24)}).encode()
    with pytest.raises(MalformedEnvelope, match=field):
        Envelope.decode(raw)


@pytest.mark.parametrize(
    ("data", "path", "field"),
    [
        ({"prices": [{"amount": "1"}, {"amount": "1", "tip": 1}]}, "$.prices[1]", "tip"),
        ({"paid": {"type": "cash", "change": {"amount": "1", "tip": 1}}}, "$.paid.change", "tip"),
        ({"paid": {"type": "card", "number": "1", "pin": "2"}}, "$.paid", "pin"),
    ],
)
def test_unknown_fields_are_found_at_every_depth(data: dict[str, Any], path: str, field: str) -> None:
    """In lists, unions and values within values."""
    check = unknown_fields_check(Weighed)
    assert check is not None
    with pytest.raises(UnknownField) as found:
        check(data, "$")
    assert (found.value.path, found.value.field) == (path, field)


def test_messages_without_values_need_no_deep_look() -> None:
    """Where nothing is nested there is nothing to check."""
    assert unknown_fields_check(Card) is None

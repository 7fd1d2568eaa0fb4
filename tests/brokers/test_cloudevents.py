"""Messages on the wire."""

from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from colonnade.brokers.broker import Carried, Unreadable
from colonnade.brokers.cloudevents import carried_of, event_of
from colonnade.messages.envelope import Envelope
from colonnade.testing.conformance.broker import carried, enveloped

_NUMBERS = st.lists(st.integers(0, (1 << 63) - 1), min_size=2, max_size=2, unique=True)
_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(_TEXTS, st.uuids(), st.integers(0, 1023), _NUMBERS, _TEXTS)
def test_what_is_written_is_read(key: str, history: UUID, partition: int, numbers: list[int], data: str) -> None:
    """Whatever the key and the data are, though they look like attributes themselves."""
    prev, seq = sorted(numbers)
    sent = Carried("shop", history, "shop.events", partition, seq, prev, key, enveloped(data))
    assert carried_of("shop.events", event_of(sent), "somewhere") == sent


def test_it_is_a_cloudevent_whose_chain_is_in_extension_attributes() -> None:
    """One JSON object, with the attributes of the envelope and lower-case names of at most 20 letters for the rest."""
    event = msgspec.json.decode(event_of(carried(7, partition=3)))
    assert event["specversion"] == "1.0"
    assert event["partitionkey"] == "Order/7"
    assert event["chainhistory"] == str(UUID(int=1))
    assert (event["chainpartition"], event["chainseq"], event["chainprev"]) == (3, 7, 6)
    assert all(name.isalnum() and name.islower() and len(name) <= 20 for name in event)


def test_the_trace_context_is_carried() -> None:
    """As the distributed tracing extension says: an attribute named `traceparent`, there and in what is read."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    envelope = replace(Envelope.decode(enveloped()), traceparent=parent).encode()
    event = event_of(replace(carried(7), envelope=envelope))
    assert msgspec.json.decode(event)["traceparent"] == parent
    read = carried_of("shop.events", event, "somewhere")
    assert isinstance(read, Carried)
    assert Envelope.decode(read.envelope).traceparent == parent


def test_an_event_whose_attributes_stand_in_another_order_is_understood() -> None:
    """Another producer may write its data last, and spaces; nothing of it is cut off."""
    written = msgspec.json.decode(event_of(carried(7)))
    event = msgspec.json.format(msgspec.json.encode(dict(sorted(written.items(), reverse=True))))
    read = carried_of("shop.events", event, "somewhere")
    assert isinstance(read, Carried)
    assert (read.seq, read.key) == (7, "Order/7")
    assert Envelope.decode(read.envelope) == Envelope.decode(carried(7).envelope)


def _changed(old: bytes, new: bytes) -> bytes:
    """A message with something else in it."""
    return event_of(carried(7)).replace(old, new)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (b"", "truncated"),
        (b"\xff{", "malformed"),
        (b'{"data":' + b"[" * 5_000, "recursion"),
        (enveloped(), "missing required field `partitionkey`"),
        (_changed(b'"chainseq":7', b'"chainseq":"7"'), "Expected `int`, got `str`"),
        (event_of(carried(7))[:-1], "truncated"),
        (b'{"source":"\xff"}', "codec can't decode"),
        (_changed(b'"chainprev":6', b'"chainprev":7'), "chainprev is not below chainseq"),
        (_changed(b'"chainprev":6', b'"chainprev":-1'), "Expected `int` >= 0"),
        (_changed(b'"chainseq":7', b'"chainseq":%d' % (1 << 63)), "Expected `int` <= 9223372036854775807"),
        (_changed(b"Order/7", b"Order\\u0000"), "there is a NUL in its source or partitionkey"),
    ],
)
def test_what_is_no_message_is_told_with_its_bytes(event: bytes, reason: str) -> None:
    """With where it lay and what is wrong with it."""
    read = carried_of("shop.events", event, "nats/shop.events")
    assert isinstance(read, Unreadable)
    assert (read.origin, read.data) == ("nats/shop.events", event)
    assert reason in read.reason

"""What a fleet can have between its services."""

import sys

import pytest

from colonnade.system.hosts.fleet.brokers import require_driver
from colonnade.system.hosts.fleet.settings import BrokerKind
from colonnade.system.hosts.servers.installed import NotInstalled


@pytest.mark.parametrize(
    ("kind", "driver"),
    [(BrokerKind.NATS, "nats"), (BrokerKind.RABBITMQ, "aio_pika"), (BrokerKind.KAFKA, "aiokafka")],
)
def test_a_driver_that_is_missing_is_told_with_the_extra_that_brings_it(
    kind: BrokerKind, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a process tries to connect with it."""
    require_driver(kind)
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(NotInstalled, match=rf"as {driver} is not installed: pip install 'colonnade\[{kind}\]'"):
        require_driver(kind)

"""What every store promises: inherit, say how one is opened, and pytest does the rest."""

from colonnade.testing.conformance.store.at_once import AtOnceSuite
from colonnade.testing.conformance.store.closing import ClosingSuite
from colonnade.testing.conformance.store.database import Database, StoreSuite
from colonnade.testing.conformance.store.inbox import InboxSuite
from colonnade.testing.conformance.store.inbox_machine import InboxMachineSuite
from colonnade.testing.conformance.store.log import LogSuite
from colonnade.testing.conformance.store.log_machine import LogMachineSuite
from colonnade.testing.conformance.store.losses import LossSuite
from colonnade.testing.conformance.store.outgoing import OutgoingSuite
from colonnade.testing.conformance.store.parking import ParkingSuite
from colonnade.testing.conformance.store.refusals import RefusalSuite
from colonnade.testing.conformance.store.units import UnitSuite

__all__ = ["Database", "StoreConformance", "StoreSuite"]


class StoreConformance(
    LogSuite,
    UnitSuite,
    RefusalSuite,
    InboxSuite,
    ParkingSuite,
    LossSuite,
    AtOnceSuite,
    OutgoingSuite,
    ClosingSuite,
    LogMachineSuite,
    InboxMachineSuite,
):
    """The whole suite."""

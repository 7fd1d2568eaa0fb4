"""What every store promises: inherit, say how one is opened, and pytest does the rest."""

from colonnade.testing.conformance.store.database import Database, StoreSuite
from colonnade.testing.conformance.store.inbox import InboxSuite
from colonnade.testing.conformance.store.log import LogSuite
from colonnade.testing.conformance.store.outgoing import OutgoingSuite
from colonnade.testing.conformance.store.units import UnitSuite

__all__ = ["Database", "StoreConformance", "StoreSuite"]


class StoreConformance(LogSuite, UnitSuite, InboxSuite, OutgoingSuite):
    """The whole suite."""

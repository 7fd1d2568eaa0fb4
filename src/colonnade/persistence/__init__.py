"""The store: a service's log, inbox, outbox, timers, leases and read models in one database."""

from colonnade.persistence.reads import Reads, StaleRead, Tables
from colonnade.persistence.store import DataDirectory

__all__ = ["DataDirectory", "Reads", "StaleRead", "Tables"]

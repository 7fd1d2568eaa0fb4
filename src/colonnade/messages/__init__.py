"""Messages: what services say to each other and store, and how it is named and encoded."""

from colonnade.messages.message import Command, Event, Message, NonNegative, Positive, Query, Value
from colonnade.messages.metadata import Metadata

__all__ = ["Command", "Event", "Message", "Metadata", "NonNegative", "Positive", "Query", "Value"]

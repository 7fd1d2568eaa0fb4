"""What is kept to save work: query answers, pages, sessions, configuration; in memory or in Valkey."""

from colonnade.caching.cache import CacheStore, Missed
from colonnade.caching.memory import MemoryCache

__all__ = ["CacheStore", "MemoryCache", "Missed"]

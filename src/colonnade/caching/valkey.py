"""The cache in a Valkey or Redis server, shared by all processes of a system."""

import math
from collections.abc import Collection, Sequence
from functools import partial

import msgspec
from redis.exceptions import OutOfMemoryError

from colonnade.caching.cache import Missed
from colonnade.caching.valkey_link import LINK_ERRORS, ValkeyLink
from colonnade.observability.health import HealthState, Severity
from colonnade.observability.logs import get_logger
from colonnade.world import World

__all__ = ["ValkeyCache"]

REMEMBERED = 10_000
"""So many changes that did not reach the server are remembered one by one; beyond that it has to forget everything."""

SHORTEST_WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 2.0

_AWAY = Missed("", 0)
_ALL = "*"
"""The tag that every entry carries."""

_log = get_logger()

# A sequence that was lost begins anew at the server's time in microseconds, above all that was ever counted
_SEQUENCE = """
local function counted()
  local now = redis.call('GET', KEYS[1])
  if now then return tonumber(now) end
  local time = redis.call('TIME')
  local begin = tonumber(time[1]) * 1000000 + tonumber(time[2])
  redis.call('SET', KEYS[1], string.format('%.0f', begin))
  return begin
end
"""

# An entry begins with a line that tells when it was read and what it carries. A tag that is not there may have been
# lost with what it knew: then nobody says that the entry still holds. A lost sequence says the same of all entries.
_GET = (
    _SEQUENCE
    + """
local now = redis.call('GET', KEYS[1])
if not now then return counted() end
now = tonumber(now)
local entry = redis.call('GET', KEYS[2])
if not entry then return now end
local since
for word in string.gmatch(string.sub(entry, 1, string.find(entry, '\\n', 1, true) - 1), '%S+') do
  if not since then
    since = tonumber(word)
  else
    local invalidated = redis.call('GET', ARGV[1] .. word)
    if not invalidated or tonumber(invalidated) > since then return now end
  end
end
return entry
"""
)

# A server without room refuses a script at its first write alone, which therefore is one that needs room
_SET = (
    _SEQUENCE
    + """
local now = counted()
local since = now
if ARGV[2] ~= '' then since = tonumber(ARGV[2]) end
local kept = since <= now
for number = 5, #ARGV do
  local tag = ARGV[1] .. ARGV[number]
  local invalidated = redis.call('GET', tag)
  if not invalidated then
    invalidated = now
    redis.call('SET', tag, string.format('%.0f', now), 'PX', ARGV[3])
  end
  if tonumber(invalidated) > since then kept = false end
end
if not kept then
  redis.call('UNLINK', KEYS[2])
  return 0
end
local head = { string.format('%.0f', since) }
for number = 5, #ARGV do head[#head + 1] = ARGV[number] end
redis.call('SET', KEYS[2], table.concat(head, ' ') .. '\\n' .. ARGV[4], 'PX', ARGV[3])
for number = 5, #ARGV do redis.call('PEXPIRE', ARGV[1] .. ARGV[number], ARGV[3], 'GT') end
return 1
"""
)

_INVALIDATE = (
    _SEQUENCE
    + """
counted()
local now = redis.call('INCR', KEYS[1])
for number = 2, #ARGV do redis.call('SET', ARGV[1] .. ARGV[number], now, 'XX', 'KEEPTTL') end
return 1
"""
)


class _Life(msgspec.Struct, frozen=True):
    """What is asked over one link: all keys are those of one life of the server, under its run id.

    So whatever a server that was started again, or one promoted in its place, brings back from its disk is not seen.
    """

    link: ValkeyLink
    prefix: str
    sequence: str
    tags: str
    get: bytes
    set: bytes
    invalidate: bytes


class ValkeyCache:
    """Keeps entries under `system`'s own keys in the server at `url` (`redis://`, `rediss://` or `unix://`).

    `run` must run: it connects, again and again when the server goes away. Until then nothing is found. What could not
    be invalidated meanwhile is, before anything is read again.
    """

    def __init__(self, url: str, system: str, world: World) -> None:
        self._url = url
        self._system = system
        self._world = world
        self._life: _Life | None = None
        self._why = "it has not been connected to yet"
        self._waits = SHORTEST_WAIT_SECONDS
        self._undelivered: dict[tuple[str, str], None] = {}

    async def get(self, key: str) -> bytes | Missed:
        """What is kept under `key`."""
        life = self._life
        if life is None:
            return _AWAY
        try:
            answer = await life.link.ask("EVALSHA", life.get, 2, life.sequence, f"{life.prefix}e:{key}", life.tags)
        except LINK_ERRORS as error:
            self._lost(life, error)
            return _AWAY
        if isinstance(answer, bytes):
            return answer[answer.index(b"\n") + 1 :]
        return Missed(life.prefix, answer)

    async def set(
        self, key: str, value: bytes, seconds: float, *, tags: Collection[str] = (), since: Missed | None = None
    ) -> bool:
        """Keep `value` for `seconds`; whether it is kept."""
        life = self._life
        if since is not None and (life is None or since.epoch != life.prefix):
            return False
        if life is not None:
            try:
                kept = await life.link.ask(
                    "EVALSHA", life.set, 2, life.sequence, f"{life.prefix}e:{key}", life.tags,
                    "" if since is None else since.sequence, math.ceil(seconds * 1_000), value, _ALL, *tags,
                )  # fmt: skip
                return bool(kept)
            except LINK_ERRORS as error:
                # One that has no room for it has other answers
                if not isinstance(error, OutOfMemoryError):
                    self._lost(life, error)
        if since is None:  # what is still kept there is the value before
            self._remember([("key", key)])
        return False

    async def delete(self, key: str) -> bool:
        """Forget `key`; whether that is certain by now."""
        return await self._forget([("key", key)])

    async def invalidate(self, tags: Collection[str]) -> bool:
        """Forget every entry that has one of `tags`; whether that is certain by now."""
        return await self._forget([("tag", tag) for tag in tags])

    def health(self) -> Sequence[HealthState]:
        """Whether the server is away."""
        if self._life is not None:
            return ()
        detail = f"The cache server is away: {self._why}. Nothing is kept until it is back, so all is read anew."
        return (HealthState("cache", Severity.DEGRADED, detail),)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            try:
                await self._live(await ValkeyLink.open(self._url))
            except LINK_ERRORS as error:
                self._why = f"{error}" or type(error).__name__
            finally:
                self._life = None
            await self._world.sleep(self._waits * (0.5 + self._world.randomness.random() / 2))
            self._waits = min(self._waits * 2, LONGEST_WAIT_SECONDS)

    async def _live(self, link: ValkeyLink) -> None:
        async def connected() -> None:
            load = partial(link.ask, "SCRIPT", "LOAD")
            get, set_, invalidate = await load(_GET), await load(_SET), await load(_INVALIDATE)
            prefix = f"{self._system}:{link.run_id[:16]}:"
            life = _Life(link, prefix, f"{prefix}s", f"{prefix}t:", get, set_, invalidate)
            while self._undelivered:
                await self._deliver(life)
            self._life = life
            self._waits = SHORTEST_WAIT_SECONDS
            _log.info("cache connected", run_id=link.run_id)

        await link.serve(connected)

    async def _forget(self, what: Sequence[tuple[str, str]]) -> bool:
        self._remember(what)
        life = self._life
        if life is None:
            return False
        try:
            await self._deliver(life)
        except LINK_ERRORS as error:
            self._lost(life, error)
            return False
        return True

    def _remember(self, what: Sequence[tuple[str, str]]) -> None:
        self._undelivered.update(dict.fromkeys(what))
        if len(self._undelivered) > REMEMBERED:
            self._undelivered = {("tag", _ALL): None}

    async def _deliver(self, life: _Life) -> None:
        delivering, self._undelivered = self._undelivered, {}
        try:
            keys = [f"{life.prefix}e:{key}" for kind, key in delivering if kind == "key"]
            if keys:
                await life.link.ask("UNLINK", *keys)
            tags = [tag for kind, tag in delivering if kind == "tag"]
            if tags:
                await life.link.ask("EVALSHA", life.invalidate, 1, life.sequence, life.tags, *tags)
        except BaseException:
            # Also of a caller that goes away: nobody knows whether it has been done
            self._remember(list(delivering))
            raise

    def _lost(self, life: _Life, error: Exception) -> None:
        if self._life is not life:
            return
        self._life = None
        self._why = f"{error}" or type(error).__name__
        life.link.close(self._why)
        _log.warning("cache lost", reason=self._why)

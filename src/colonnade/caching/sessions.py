"""Who is logged in: sessions in a cache, known by an unguessable id."""

from base64 import urlsafe_b64encode
from hashlib import blake2b

import msgspec

from colonnade.caching.cache import CacheStore, Missed
from colonnade.world import Secret, World, system_secret

__all__ = ["Session", "Sessions", "SessionsAway"]

IDLE_SECONDS = 30 * 60.0
"""A session that is not used for so long has ended."""

LONGEST_SECONDS = 12 * 3_600.0
"""A session ends after so long, however much it is used."""

ID_BYTES = 32

RENEWED_AFTER = 0.1
"""The part of its idle time after which the use of a session is noted: each time would be a write a request."""

_NOTHING = "nothing"


class SessionsAway(Exception):
    """Where sessions are kept cannot be reached, so that none can be begun, rotated or ended for certain."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"The session could not be {self.what}: where sessions are kept is away; try again soon."


class Session(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Whose session it is, since when, and when its use was last noted (microseconds since 1970-01-01T00:00:00Z)."""

    principal: str
    begun: int
    used: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Session).decode


class Sessions:
    """The sessions in `store`, best one of their own: who floods a cache that is shared pushes them out.

    **They fail closed**: while the store is away, or has forgotten, nobody is logged in. Only a digest of an id is
    kept, so that who reads the store cannot use what he finds.
    """

    def __init__(
        self,
        store: CacheStore,
        world: World,
        *,
        idle_seconds: float = IDLE_SECONDS,
        longest_seconds: float = LONGEST_SECONDS,
        secret: Secret = system_secret,
    ) -> None:
        self._store = store
        self._micros = world.clock.micros
        self._idle = idle_seconds
        self._longest = longest_seconds
        self._secret = secret

    async def begin(self, principal: str) -> str:
        """Begin a session of `principal`, who has just proved who he is; its id. Raises `SessionsAway`."""
        now = self._micros()
        return await self._new(Session(principal, now, now), None, "begun")

    async def of(self, id: str) -> Session | None:
        """The session of that id, whose idle time begins anew; None where there is none, or nobody can say."""
        digest = _digest(id)
        session = await self._find(digest)
        if session is None:
            return None
        now = self._micros()
        if now - session.used > RENEWED_AFTER * self._idle * 1_000_000:
            # Read again behind a moment that is known: it is not renewed where it ended after that
            since = await self._moment()
            session = await self._find(digest)
            if session is None:
                return None
            session = msgspec.structs.replace(session, used=now)
            await self._keep(digest, session, since)
        return session

    async def rotate(self, id: str) -> str | None:
        """Another id for the session, to be given out whenever its rights change; None where there is no such session.

        The old id is of no use any more. Raises `SessionsAway`, after which neither may be.
        """
        since = await self._moment()
        session = await self._find(_digest(id))
        if session is None:
            return None
        renewed = await self._new(msgspec.structs.replace(session, used=self._micros()), since, "rotated")
        await self.end(id)
        return renewed

    async def end(self, id: str) -> None:
        """End the session of that id; raises `SessionsAway` when it may go on elsewhere until the store is back."""
        if not await self._store.invalidate([_digest(id)]):
            raise SessionsAway("ended")

    async def end_all(self, principal: str) -> None:
        """End all sessions of `principal`; raises `SessionsAway` when some may go on until the store is back."""
        if not await self._store.invalidate([_digest(principal)]):
            raise SessionsAway("ended")

    async def _new(self, session: Session, since: Missed | None, what: str) -> str:
        id = urlsafe_b64encode(self._secret(ID_BYTES)).rstrip(b"=").decode()
        if not await self._keep(_digest(id), session, since):
            raise SessionsAway(what)
        return id

    async def _find(self, digest: str) -> Session | None:
        found = await self._store.get(f"session:{digest}")
        if isinstance(found, Missed):
            return None
        session = _decode(found)
        return session if self._seconds_left(session) > 0 else None

    async def _keep(self, digest: str, session: Session, since: Missed | None) -> bool:
        seconds = min(self._idle, self._seconds_left(session))
        tags = (digest, _digest(session.principal))
        return seconds > 0 and await self._store.set(
            f"session:{digest}", _encode(session), seconds, tags=tags, since=since
        )

    def _seconds_left(self, session: Session) -> float:
        return self._longest - (self._micros() - session.begun) / 1_000_000

    async def _moment(self) -> Missed:
        moment = await self._store.get(_NOTHING)
        assert isinstance(moment, Missed)
        return moment


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=24).hexdigest()

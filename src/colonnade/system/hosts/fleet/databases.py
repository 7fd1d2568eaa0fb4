"""A database and a role for each service, on a server that is there, and where that is for the service."""

from urllib.parse import quote, urlsplit, urlunsplit

from colonnade.system.hosts.servers.child import ServerFailed

__all__ = ["address_of", "find_database", "make_database", "same_database"]


async def make_database(administrator: str, name: str, password: str) -> str:
    """Make a database, owned by a role of its own of the same name, unless they are there; its address for that role.

    `administrator` is the server's address for a user who may make both; raises `ServerFailed`.
    """
    import asyncpg

    try:
        connection = await asyncpg.connect(administrator, timeout=10)
        try:
            role, secret = _quoted(name), await connection.fetchval("SELECT quote_literal($1)", password)
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name):
                await connection.execute(f"CREATE ROLE {role} LOGIN")
            await connection.execute(f"ALTER ROLE {role} PASSWORD {secret}")
            # As the store's own connections say; those of a pooler say nothing
            await connection.execute(f"ALTER ROLE {role} SET jit = off")
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
                await connection.execute(f"GRANT {role} TO CURRENT_USER")
                await connection.execute(f"CREATE DATABASE {role} OWNER {role}")
                await connection.execute(f"REVOKE CONNECT ON DATABASE {role} FROM PUBLIC")
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        reason = f"no database {name} could be made: {str(error) or type(error).__name__}"
        raise ServerFailed("PostgreSQL", reason) from error
    return address_of(administrator, name, password)


def same_database(replica: str, store: str) -> str:
    """The address on the server `replica`, a copy of its primary with all databases and roles, of what `store` is."""
    parts = urlsplit(store)
    return urlunsplit(urlsplit(replica)._replace(netloc=f"{_who(store)}@{_where(replica)}", path=parts.path))


def address_of(server: str, name: str, password: str) -> str:
    """The database of that name on `server`, an address of it for anybody, for the database's own role."""
    netloc = f"{quote(name, safe='')}:{quote(password, safe='')}@{_where(server)}"
    return urlunsplit(urlsplit(server)._replace(netloc=netloc, path=f"/{quote(name, safe='')}"))


def _who(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[0]


def _where(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


async def find_database(administrator: str, name: str) -> str | None:
    """The address of a database that `make_database` has made, for the administrator; None where there is none.

    Raises `ServerFailed`.
    """
    import asyncpg

    try:
        connection = await asyncpg.connect(administrator, timeout=10)
        try:
            there = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name)
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        raise ServerFailed("PostgreSQL", f"it cannot be asked: {str(error) or type(error).__name__}") from error
    return urlunsplit(urlsplit(administrator)._replace(path=f"/{quote(name, safe='')}")) if there else None


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'

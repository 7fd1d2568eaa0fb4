"""Servers that no wheel brings: programs of the machine's packages, and what was fetched beside the checkout."""

import shutil
from pathlib import Path

from colonnade.system.hosts.servers.child import ServerFailed

__all__ = ["NotInstalled", "installed", "kafka_jars"]

_FOLDERS = ("/usr/sbin", "/usr/local/sbin")
"""Where Debian puts servers, though it is not on everybody's path."""

_FETCHED = Path(".servers", "kafka", "jars")
"""Where `make servers` puts them, in a checkout."""

_CHECKOUT = Path(__file__).parents[5]

_STARTER = "kafka-server-start.sh"


class NotInstalled(ServerFailed):
    """A server cannot be started here, as something of it is not there."""

    def __init__(self, server: str, missing: str, remedy: str) -> None:
        super().__init__(server, f"{missing}: {remedy}")
        self.missing, self.remedy = missing, remedy

    def __str__(self) -> str:
        return f"{self.server} cannot be started here, as {self.missing}: {self.remedy}."


def installed(server: str, program: str, package: str) -> Path:
    """The file of `program`, which Debian's `package` brings; raises `NotInstalled`."""
    found = shutil.which(program) or shutil.which(program, path=":".join(_FOLDERS))
    if found is None:
        raise NotInstalled(server, f"{program} is not installed", f"make servers, or apt-get install {package}")
    return Path(found)


def kafka_jars() -> Path:
    """The folder of Kafka's jars: of a Kafka whose `bin` is on the path, else what was fetched for this checkout.

    Raises `NotInstalled`.
    """
    starter = shutil.which(_STARTER)
    places = [Path(starter).resolve().parent.parent / "libs"] if starter is not None else []
    for jars in [*places, _FETCHED.absolute(), _CHECKOUT / _FETCHED]:
        if jars.is_dir():
            return jars
    raise NotInstalled("Kafka", "its jars are not there", f"make servers, or put {_STARTER} of a Kafka on the path")

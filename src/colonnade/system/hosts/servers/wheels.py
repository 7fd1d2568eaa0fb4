"""Where the programs are that wheels have brought."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from colonnade.system.hosts.servers.child import ServerFailed

__all__ = ["program"]


def program(server: str, wheel: str, ending: str, extra: str = "servers") -> Path:
    """The file of an installed `wheel` whose path ends with `ending`; raises `ServerFailed`, naming our `extra`."""
    try:
        listed = files(wheel) or []
    except PackageNotFoundError:
        listed = []
    for file in listed:
        path = Path(str(file.locate())).resolve()
        if path.as_posix().endswith(ending) and path.is_file():
            return path
    raise ServerFailed(server, f"the wheel {wheel} is not installed: pip install 'colonnade[{extra}]'")

"""A process of the fleet that runs is asked how it is: who is not ready gets no requests, who is dead gets an end."""

from colonnade.observability.logs import get_logger
from colonnade.system.hosts.fleet.instance import Instance
from colonnade.system.hosts.fleet.managed import Managed, State
from colonnade.world import World

__all__ = ["WATCH_SECONDS", "watch"]

WATCH_SECONDS = 1.0

SILENT_LOOKS = 15
"""A process that has not said for so many looks that it lives is killed, and started again."""

_log = get_logger()


async def watch(managed: Managed, instance: Instance, world: World) -> None:
    """Look at a process until cancelled; `managed` is told whether requests may go to it."""
    silent = 0
    while True:
        await world.sleep(WATCH_SECONDS)
        if managed.state not in (State.READY, State.UNREADY):
            silent = 0
            continue
        pid = instance.child.pid
        status = await instance.probe("ready")
        if instance.child.pid != pid:  # it was another one
            continue
        managed.found(ready=status == 200, silent=status is None)
        # One that says it is not ready may be well; one whose state is fatal says that it is not live
        lives = status == 200 or (status is not None and await instance.probe("live") == 200)
        silent = 0 if lives else silent + 1
        if silent >= SILENT_LOOKS and instance.child.pid == pid:
            _log.error("process killed", process=managed.name, cause=f"no sign of life in {SILENT_LOOKS} looks")
            await instance.child.kill()

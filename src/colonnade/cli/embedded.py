"""A system in this process on the command line."""

import sys

from colonnade.system import System
from colonnade.system.hosts.embedded import EmbeddedHost, HostSettings, Serving
from colonnade.world import World

__all__ = ["run_embedded"]


async def run_embedded(system: System, target: str, settings: HostSettings, world: World) -> None:
    """Run `system` until it is told to stop."""

    def ready(serving: Serving) -> None:
        _say(_banner(system, target, serving))

    def stopping() -> None:
        _say(f"{system.name} is stopping; Ctrl-C again to leave at once.")

    await EmbeddedHost(system, settings, world, ready=ready, stopping=stopping).run()


def _banner(system: System, target: str, serving: Serving) -> str:
    apis = "\n".join(
        f"  {service.name:<14}{serving.url}/api/{service.name}/"
        for service in system.services
        if service.api is not None
    )
    tenants = f"  {'tenants':<14}{', '.join(serving.tenants)}\n" if serving.tenants else ""
    return (
        f"{system.name} is up.\n"
        f"{apis}\n"
        f"{tenants}"
        f"  {'health':<14}{serving.url}/health/ready\n"
        f"  {'data':<14}{serving.data.path}\n"
        f"  {'endpoints':<14}colonnade routes {target}\n"
        f"  {'stop':<14}Ctrl-C"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()

"""What the fleet's tests stand on."""

from tests.fleet.fleets import settings_of

__all__ = ["settings_of"]

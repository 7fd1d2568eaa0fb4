"""How large a message may be."""

from colonnade.persistence.failures import MessageTooLarge
from colonnade.persistence.unit import ArmTimer, Deliver, Effect, Publish, Unpark

__all__ = ["MESSAGE_LIMIT_BYTES", "check_size"]

MESSAGE_LIMIT_BYTES = 256 * 1024
"""The largest envelope that may leave a service: what every broker can carry."""


_CARRYING = frozenset({Publish, Deliver, ArmTimer, Unpark})
_MESSAGES = (Publish, Deliver)


def check_size(effect: Effect) -> None:
    """Raise `MessageTooLarge` for an effect whose message no broker may carry."""
    if type(effect) not in _CARRYING:
        return
    if isinstance(effect, ArmTimer):
        effect = effect.message
    if isinstance(effect, _MESSAGES) and len(effect.envelope) > MESSAGE_LIMIT_BYTES:
        raise MessageTooLarge(f"A message of {effect.key}", len(effect.envelope), MESSAGE_LIMIT_BYTES)
    if isinstance(effect, Unpark) and effect.envelope is not None and len(effect.envelope) > MESSAGE_LIMIT_BYTES:
        raise MessageTooLarge(f"Message {effect.row}", len(effect.envelope), MESSAGE_LIMIT_BYTES)

"""Tables that change while two versions of the code use them: expand, deploy, contract."""

from colonnade.persistence.migrations.fill import fill

__all__ = ["fill"]

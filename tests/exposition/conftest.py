"""The fixtures of this folder."""

from tests.worlds.fixtures import alerting

__all__ = ["alerting"]

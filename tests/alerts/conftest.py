"""The programs of Prometheus and Alertmanager, for the tests of rules and of the way from an alert to a page."""

from tests.worlds.fixtures import alerting, amtool, promtool

__all__ = ["alerting", "amtool", "promtool"]

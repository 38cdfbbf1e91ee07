"""Grafana's dashboards, made from Python: ``python -m dashboards.generate`` writes ``dashboards/json/``."""

"""Dashboards for Grafana and what makes them; not a part of the program."""

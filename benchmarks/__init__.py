"""Measurements of the daemon on real and on scripted servers; ``python -m benchmarks`` runs them, ``make bench`` too.

Not tests: they assert nothing about time. What they find stands in docs/benchmarks.md.
"""

"""Seam 1: ways of sending. One file per kind: its options, its checks and its code."""

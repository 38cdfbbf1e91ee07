"""Seam 2: mailboxes. One file per kind: its options, its checks and its code."""

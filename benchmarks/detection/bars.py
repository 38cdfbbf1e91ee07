"""What the detector is to reach: minutes from onset to decision, mean over many runs, forty legs' threshold."""

from __future__ import annotations

SHARES = (1.0, 0.2, 0.05, 0.02, 0.01)
RATES = (1, 6, 12)

# (noise, canaries a minute, cap a minute): bars for total loss, 20, 5, 2 and 1 %.
PAGED: dict[tuple[str, int, int], tuple[float, ...]] = {
    ("inet", 1, 20): (1.75, 7.7, 26.9, 64, 151),
    ("inet", 1, 60): (1.75, 7.15, 24.1, 58.3, 127),
    ("inet", 6, 20): (1.10, 3.85, 10.8, 25.7, 59),
    ("inet", 6, 60): (1.10, 3.25, 7.3, 15.7, 33),
    ("inet", 12, 20): (1.06, 3.46, 9.35, 23.7, 56),
    ("inet", 12, 60): (1.06, 2.74, 5.6, 11.8, 24.2),
    ("own", 1, 20): (1.56, 7.2, 26, 61.6, 141),
    ("own", 1, 60): (1.56, 7.15, 23.9, 58.8, 128),
    ("own", 6, 20): (1.10, 3.56, 9.8, 22.9, 51.9),
    ("own", 6, 60): (1.10, 3.15, 6.9, 14.7, 31.3),
    ("own", 12, 20): (1.06, 3.2, 8.25, 20, 47.1),
    ("own", 12, 60): (1.06, 2.67, 5.25, 10.8, 22.6),
}
# The 95th percentile of a total loss has bars of its own on the internet's noise.
TOTAL_P95: dict[int, float] = {1: 2.25, 6: 1.20, 12: 1.10}

FALSE_PAGES = 15.0  # in 600 months of a leg, by forty legs' threshold
UNSEEN_A_MONTH = 1.0  # of forty legs together, on noise that nothing was set on
EXTRAS = 0.5  # to each canary of the schedule
STALL_PAGES = 0.002  # of stalls of 45 s
STALL_SEEN = 0.99  # of stalls of 75 s (inet) and 65 s (own) at 12 a minute
DROPPED = {(3.0, 30.0): 1.75, (8.0, 30.0): 2.42, (55.0, 65.0): None}
BLIND_AT_ONSET = 0.4  # minutes after the gap
MAILBOX_DOWN = 0.01
DEAD_HOST = {(0.125, 1.0): 6.0, (0.25, 1.0): 3.6, (1.0, 1.0): 1.8}
CORE = 0.01  # of one core, forty legs at 60 canaries a minute each

"""The loops that move canaries: schedule, send, watch, judge, prune; supervised in one task group."""

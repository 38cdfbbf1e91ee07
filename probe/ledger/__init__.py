"""The durable record: what was intended, what happened, what was read, and the running totals."""

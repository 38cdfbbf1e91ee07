"""The detector on virtual time: how soon it pages, and how often for nothing."""

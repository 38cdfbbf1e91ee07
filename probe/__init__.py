"""mailcanary: canary mail through the real inbound path, with proof of what was late and what was lost."""

__version__ = "0.1.0"

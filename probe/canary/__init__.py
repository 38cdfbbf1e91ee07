"""The core: identity, life and proof. Pure: no I/O, no clock, no logging; standard library only."""

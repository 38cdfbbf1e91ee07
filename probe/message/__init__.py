"""The canary as an email: compose it, recognise it. Pure: no I/O, no clock, no logging; standard library only."""

"""Worlds: real mail servers, and the faults they can be given, for the tests.

Each world is a private instance on free loopback ports in its own temporary folder; nothing of the machine's own
mail system is read or touched. Not fakes: what answers here is Debian's Postfix and Dovecot; ours are only the zone
(dnspython) and what is scripted. The daemons need root (both change user) but no systemd.
"""

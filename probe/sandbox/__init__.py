"""An embedded inbound mail system on loopback, with faults that can be switched while it runs.

For the demo and for drills: a DNS zone whose MX records name two intake hosts (SMTP), a spool, a worker that writes a
primary and a backup store and then delivers to an IMAP server. It repeats the incident of 9 September 2015: with
``backup-db`` the write to the backup store fails and the message is dropped without a word, with ``bad-host`` one of
the intakes keeps nothing of what it accepts, while the queue figure stays at 0. By the other faults mail is late, put
off, bounced, stored twice, or taken for junk.

It is not a mail server for anybody's mail: it binds to loopback, knows one user, sends nothing on, forgets the mailbox
when it ends, and syncs nothing to disk. It needs the ``demo`` extra (aiosmtpd and pymap), so nothing imports it on the
way to ``mailcanary run``.
"""

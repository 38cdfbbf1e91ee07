"""The rows of the fault matrix: id, fault and means on one line, what must happen on the next."""

from __future__ import annotations

TEXT = """
S01 DNS is silent, or answers SERVFAIL [zone, clock]
    unsent (dns_temp); known hosts stay; the next slot tries again; no loss
S02 The domain does not exist, or has neither MX nor address [zone, clock]
    unsent (dns_perm), canary by canary, so that it alerts
S03 The domain takes no mail (null MX) [zone]
    named by check --connect; unsent (null_mx) while running
S04 The set of MX hosts changes between two canaries [zone, clock]
    new hosts get legs; old legs finish what they have, and their series end
S05 One address swallows packets, another is good [proxy, real]
    each address has its own try and time-out, is named, and the good one is reached
S06 The connection is refused, reset or unreachable [scripted, real]
    unsent (connect), with the errno's name
S07 The banner comes late [scripted, clock]
    waited for up to its time-out; its phase is timed; no failure before that
S08 Tarpit: a byte at a time, each command slow [scripted, clock]
    the total of the attempt cuts: unsent (timeout) with the phase; the loop stays free
S09 554 or 421 instead of a banner [scripted, real]
    refused or deferred, with code and stage
S10 Garbage, a line or a reply without end [scripted]
    unsent (protocol) before content, unsure after it; memory stays bounded
S11 EHLO refused, HELO only [scripted]
    goes on without TLS only where the policy permits
S12 STARTTLS not offered although required [scripted, proxy]
    unsent (tls_missing); no credential and no mail on the wire
S13 Replies smuggled in behind the answer to STARTTLS [scripted]
    thrown away: unsent, or a clean session within TLS
S14 Certificate expired, of another name, of nobody we trust [scripted]
    required: unsent (tls_cert); opportunistic: sent, and told as not valid
S15 The TLS handshake stalls [scripted]
    unsent (timeout) at the phase's own limit
S16 Login refused for good (535) [scripted]
    unsent (auth) after one try by one mechanism; after three in a row the pauses between tries grow
S17 Login refused for now (454), or the token has expired [scripted]
    unsent (auth_temp) after one try
S18 Greylisting: 4xx, then accepted [real, clock]
    deferred, tried again by the same canary; the whole time is its latency
S19 4xx until the tries or the time run out [real, clock]
    refused with the last code; never lost
S20 5xx at MAIL, RCPT, DATA or the final dot [scripted, real]
    refused with code, enhanced code and stage; never lost
S21 421 in the middle, and the connection is closed [scripted, real]
    deferred, as the answer came; the connection is closed
S22 The connection breaks while content is sent [scripted]
    unsure; never sent again
S23 Nine minutes of silence after the final dot, then 250 [scripted, clock]
    waited for: accepted, and the latency runs from the dot
S24 Silence after the dot beyond ten minutes, or a close [scripted, clock]
    unsure; never sent again; arrives or ends as unknown (send)
S25 250 was said, and the process is killed before it is written down [process, clock]
    unsure after the restart; delivered once it is seen; sent once
S26 QUIT fails or hangs [scripted]
    changes nothing and is not waited for
S27 Accepted, then a report of failure comes [real, clock]
    bounced, with the report's status; found by envelope id, tag or returned header
S28 A report of delay, then the arrival [real, clock]
    an event in its life; the outcome is its arrival
S29 A forged report [real, clock]
    counted as forged; moves nothing
S30 Accepted and silently dropped [real, clock]
    lost, with its proof
S31 Delivered twice or more often [real, clock]
    one arrival; the others are duplicates
S32 Delivered after the verdict [real, clock]
    the outcome stays; counted beside it as recovered
S33 Arrivals in another order than sent [clock]
    each is matched to its own canary and timed by it
S34 Delivered to Junk [real]
    delivered; its place is told apart
S35 Body, subject or links rewritten [input]
    recognised by what is left
S36 Message-ID replaced, own header stripped [input]
    recognised by what is left
S37 Everything that names it is stripped [clock]
    unknown (uncorrelatable) where mail of ours without a name was seen
S38 No SMTPUTF8, no 8BITMIME, no SIZE [scripted]
    the plain canary needs none
S39 Escapes, NUL, broken UTF-8, 8 KiB in what a server says [scripted, input]
    one line of harmless text in journal, ledger, pages and terminal
S40 Our own source address or port cannot be had [scripted]
    unsent (bind)
S41 The relay limits its rate (4.7.x) [scripted, real]
    deferred; tried again within the caps
R01 Login refused: the password is wrong [real]
    blind; tried more and more rarely; nothing judged meanwhile
R02 Login refused for now, too many connections [scripted, clock]
    blind; tried again after growing waits that vary; nothing judged meanwhile
R03 Connection refused, or the host's name cannot be resolved [proxy, real, scripted]
    as R02
R04 A dead path in IDLE, and nobody tells [proxy, real]
    an idle lasts 90 s at most; an answer to DONE that does not come is blindness
R05 FIN or RST in IDLE [proxy, scripted]
    found at once; connected again after a wait; no busy loop
R06 BYE in IDLE, instead of its beginning, or in FETCH [scripted, real]
    the connection is closed and made anew
R07 News of mail together with the beginning of IDLE, split, byte by byte [scripted, proxy]
    heard
R08 IDLE is not offered, or never tells [scripted, clock]
    polls go on; the width of the latency is told
R09 The mailbox is over its quota [real, clock]
    refused, deferred or bounced (5.2.2) by what the server says; never lost
R10 UIDVALIDITY changes [real, clock]
    read again by date: what is there arrived, what is not is unknown (uidvalidity); no duplicates
R11 Somebody empties the mailbox [clock]
    what was in flight ends as unknown (uid_gap), never lost; arrivals stay
R12 Another client takes canaries away before we look [real, clock]
    unknown (uid_gap), and counted; lost only where the mailbox is declared exclusive
R13 A watched folder is missing [real, clock]
    unknown (folder_missing) for what is not found; the other folders go on
R14 The folder is read-only [scripted, real]
    arrivals count; nothing is cleaned up there
R15 The server throttles [scripted]
    blind as throttled, and tried again later
R16 The mailbox's clock is an hour off [clock]
    latency by our own clock; no verdict by theirs
R17 The server's certificate cannot be trusted [real]
    no login; blind
R18 Literals of 40 GB, lines without end, floods, nested parentheses [scripted]
    the connection is dropped; memory stays bounded; the watch goes on
R19 A malformed answer about one message [scripted, clock]
    that message is unreadable, and no loss is proven over it
R20 Hostile mail: damaged headers, huge bodies, thousands of fields [input]
    read in bounded time and memory; never an exception
R21 A crowd of other people's mail [real]
    the cost of a read does not grow with the mailbox
R22 A flood of forged canaries [real, clock]
    none believed; nothing judged before all of it was read
R23 An old canary is put there again [real, clock]
    expired, replayed or a duplicate; never an arrival
R24 Removing fails, or the server lacks UIDPLUS [scripted, real, clock]
    tried again later; never a bare EXPUNGE
R25 A read is cut in the middle [proxy, clock]
    goes on from what is written down; no verdict by half a read
R26 Two folders, one of them cannot be read [clock]
    no loss until both were read
R27 The OAuth token expires while idling [scripted]
    renewed, connected again; blind meanwhile
R28 The arrival is seen before our 250 is worked off [clock]
    delivered, timed from the dot
P01 Killed at any moment [process, clock]
    nothing forgotten, nothing sent twice, each in a state that is allowed
P02 Loss of power [file]
    what was acknowledged is there
P03 Disk full, quota, read-only file system [file, real, clock]
    nothing is sent, the watch goes on, the gauge says so; goes on by itself
P04 A sync fails (EIO) [file]
    the commit counts for nothing; the ledger is opened anew
P05 Somebody else holds a lock on the ledger [file]
    waited for a moment, then as P03; the loop stays free
P06 The ledger is damaged, cut or empty [file, clock]
    set aside, never deleted; begun anew and said; nothing sent until the caps' windows have passed
P07 A ledger of a newer version, a migration that fails [file]
    no start, the reason named, the data untouched
P08 PostgreSQL is down, slow, or fails over [process]
    as P03; a commit whose answer is lost is looked up by its id
P09 Killed for want of memory [process]
    as P01; what is held in memory is bounded
P10 The wall clock jumps by an hour or a day, or drifts [clock]
    latencies stay right; no burst, no loss
P11 Eight hours of suspend [clock]
    first read, then judged; no burst makes up for the night
P12 Time zones and daylight saving [clock]
    UTC throughout
P13 The loop stalls [clock, process]
    said by /healthz; the watchdog is not fed and ends it
P14 A loop of ours crashes [clock]
    counted, begun anew after growing waits; too often in a row ends the daemon
P15 Leaks of tasks, threads or descriptors [clock]
    their number stays the same over reloads and restarts
P16 No file descriptor is left [process, limit]
    no crash; it goes on once some are free
P17 SIGTERM during DATA [clock, process]
    the answer is waited for a while, then unsure; exit code 0
P18 SIGHUP with a bad configuration or without a secret [clock, process]
    the old one stays, and the metric says so
P19 A reload takes a route away that has canaries under way [clock]
    they are followed to their end
P20 A key is dropped while its canaries are in flight [clock]
    refused
P21 The port of the metrics is taken [process]
    no start, and the reason is named
P22 Silent and slow clients at the web port [scripted]
    a scrape beside them is not held up
P23 Two probers on one mailbox [real]
    each judges and removes only its own
P24 A second start on the same ledger [process, file]
    refused
P25 Several probers on one PostgreSQL ledger [process]
    each canary is claimed by one; a crash frees what it held
P26 A restart every second [clock]
    never more than the rate and the caps; nothing forgotten
P27 A schedule gone mad [clock]
    held by the caps, and counted
P28 A configuration of aliases, duplicates, 100 MB, paths upwards [input]
    refused, soon
P29 Nobody takes the log lines [file]
    lines are dropped and counted; the loop does not wait
P30 No network for an hour [clock]
    nothing judged while blind; all watchers are back within their longest wait; then by proof
P31 Nobody scrapes for six hours [clock]
    the totals go on; nothing depends on it
P32 Upgrade or downgrade with canaries in flight [file]
    none is lost from the ledger; a newer one is refused untouched
"""

"""A private Postfix that takes lab.test and hands it to a Dovecot by LMTP, with faults that act at once.

Three listeners: ``port`` (port 25's part: STARTTLS offered, no AUTH), ``submission_port`` (STARTTLS, AUTH) and
``submissions_port`` (implicit TLS, AUTH); AUTH asks the Dovecot. Faults are rules of the policy server, so they
need no reload. The log (Postfix 3.7 ``maillog_file``) has whole seconds only; ``delay`` of a delivery is finer, and
the exact instant of arrival is in ``Dovecot.saved()``.
"""

from __future__ import annotations

import os
import shutil
import smtplib
import tempfile
from pathlib import Path

from tests.worlds.dovecot import DOMAIN, Dovecot
from tests.worlds.policy import PolicyServer, Rule, Stage
from tests.worlds.ports import LOOPBACK, alive, end_process, free_ports, listening, run_tool, wait_until
from tests.worlds.postfix_log import Delivery, taken_in, tries

HOSTNAME = "mx.lab.test"
_DAEMONS = Path("/usr/lib/postfix/sbin")

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
myhostname = {hostname}
mydestination =
local_recipient_maps =
alias_maps =
inet_interfaces = all
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = {domain}
virtual_transport = lmtp:inet:127.0.0.1:{lmtp}
maillog_file = {log}
maillog_file_prefixes = {folder}
smtpd_tls_chain_files = {key}, {certificate}
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {auth}
recipient_delimiter = +
smtputf8_enable = yes
disable_vrfy_command = yes
message_size_limit = 52428800
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_event_limit_exceptions = 127.0.0.0/8
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
default_process_limit = 100
in_flow_delay = 0
queue_run_delay = 2s
minimal_backoff_time = 1s
maximal_backoff_time = 5s
lmtp_destination_concurrency_limit = 50
lmtp_destination_concurrency_failed_cohort_limit = 0
lmtp_connection_cache_on_demand = no
smtpd_delay_reject = no
{policy}
"""

_POLICY = """\
smtpd_client_restrictions = check_policy_service inet:127.0.0.1:{port}
smtpd_helo_restrictions = check_policy_service inet:127.0.0.1:{port}
smtpd_sender_restrictions = check_policy_service inet:127.0.0.1:{port}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:{port}
smtpd_data_restrictions = check_policy_service inet:127.0.0.1:{port}
smtpd_end_of_data_restrictions = check_policy_service inet:127.0.0.1:{port}
smtpd_policy_service_retry_delay = 1s
"""

# No column is chrooted: the fifth is "n" throughout.
_MASTER = """\
{host}:{smtp}        inet  n - n - 100 smtpd
{host}:{submission}  inet  n - n - 100 smtpd -o smtpd_sasl_auth_enable=yes -o syslog_name=postfix/submission
{host}:{submissions} inet  n - n - 100 smtpd -o smtpd_sasl_auth_enable=yes -o smtpd_tls_wrappermode=yes
pickup     unix  n - n 60    1   pickup
cleanup    unix  n - n -     0   cleanup
qmgr       unix  n - n 300   1   qmgr
tlsmgr     unix  - - n 1000? 1   tlsmgr
rewrite    unix  - - n -     -   trivial-rewrite
bounce     unix  - - n -     0   bounce
defer      unix  - - n -     0   bounce
trace      unix  - - n -     0   bounce
verify     unix  - - n -     1   verify
flush      unix  n - n 1000? 0   flush
proxymap   unix  - - n -     -   proxymap
smtp       unix  - - n -     -   smtp
showq      unix  n - n -     -   showq
error      unix  - - n -     -   error
retry      unix  - - n -     -   error
discard    unix  - - n -     -   discard
lmtp       unix  - - n -     -   lmtp
anvil      unix  - - n -     1   anvil
scache     unix  - - n -     1   scache
postlog    unix-dgram n - n - 1  postlogd
"""

_PRIVATE = (0o700, "root")
_QUEUES = {
    **dict.fromkeys(
        ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"),
        _PRIVATE,
    ),
    "maildrop": (0o730, "postdrop"),
    "public": (0o710, "postdrop"),
    "pid": (0o755, "root"),
}


class Postfix:
    """One instance, delivering to ``dovecot``. ``policy`` False leaves the policy server out (for benchmarks).

    ``host`` and ``port``: where it listens, for several that look like the MX hosts of one domain.
    """

    name = HOSTNAME

    def __init__(
        self,
        dovecot: Dovecot,
        *,
        policy: bool = True,
        extra: str = "",
        host: str = LOOPBACK,
        port: int | None = None,
    ) -> None:
        self.dovecot = dovecot
        self.host = host
        self.folder = Path(tempfile.mkdtemp(prefix="mailcanary-postfix-"))
        self.folder.chmod(0o755)
        self.log = self.folder / "postfix.log"
        self.ca_file = dovecot.certificates.ca_file
        free, self.submission_port, self.submissions_port = free_ports(3)
        self.port = port or free
        self.policy = PolicyServer()
        self._etc = self.folder / "etc"
        for name in ("etc", "queue", "data"):
            (self.folder / name).mkdir(mode=0o755)
        shutil.chown(self.folder / "data", "postfix")
        self._make_queue()
        self._configure(_POLICY.format(port=self.policy.port) if policy else "", extra)

    def _make_queue(self) -> None:
        """The folders that ``postfix start`` would make."""
        for name, (mode, group) in _QUEUES.items():
            path = self.folder / "queue" / name
            path.mkdir()
            shutil.chown(path, "root" if name == "pid" else "postfix", group)
            path.chmod(mode)

    def _configure(self, policy: str, extra: str) -> None:
        certificates = self.dovecot.certificates
        main = _MAIN.format(
            folder=self.folder,
            daemons=_DAEMONS,
            hostname=HOSTNAME,
            domain=DOMAIN,
            lmtp=self.dovecot.lmtp_port,
            log=self.log,
            key=certificates.key,
            certificate=certificates.certificate,
            auth=self.dovecot.auth_socket,
            policy=policy,
        )
        (self._etc / "main.cf").write_text(main + extra)
        # A main.cf younger than a second is read again and again until it is older: two seconds lost at a start.
        os.utime(self._etc / "main.cf", (0, 0))
        (self._etc / "master.cf").write_text(
            _MASTER.format(
                host=self.host,
                smtp=self.port,
                submission=self.submission_port,
                submissions=self.submissions_port,
            )
        )
        if (dynamic := Path("/etc/postfix/dynamicmaps.cf")).exists():
            shutil.copy(dynamic, self._etc)

    @property
    def _pid(self) -> int | None:
        try:
            return int((self.folder / "queue" / "pid" / "master.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None

    @property
    def running(self) -> bool:
        pid = self._pid
        return pid is not None and alive(pid)

    def start(self) -> None:
        """Start and wait for the banner port; nothing happens when it runs already."""
        if not self.running:
            run_tool([_DAEMONS / "master", "-c", self._etc, "-w"], self.log)
        wait_until(lambda: listening(self.port, self.host), 10, "postfix listens", self.log)

    def stop(self) -> None:
        """End the master and its processes; the queue stays on disk."""
        if self.running and (pid := self._pid) is not None:
            end_process(pid)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop, end the policy server, remove the folder with the queue."""
        self.stop()
        self.policy.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        run_tool([program, "-c", self._etc, *arguments], self.log)

    # Faults: each acts on the next command of any session.

    def discard(self, recipient: str, *, times: int | None = None) -> Rule:
        """Accept the recipient's mail ("queued as"), then drop it without a word (the discard transport)."""
        return self.policy.add(Rule(Stage.RCPT, "FILTER discard:silently", recipient=recipient, times=times))

    def hold(self, recipient: str, *, times: int | None = None) -> Rule:
        """Accept the recipient's mail and keep it in the hold queue until ``release_held``."""
        return self.policy.add(Rule(Stage.RCPT, "HOLD held by the test", recipient=recipient, times=times))

    def greylist(self, recipient: str, *, tries: int = 1) -> None:
        """4xx for the first ``tries`` tries of each sender to the recipient."""
        self.policy.greylist(recipient, tries=tries)

    def reject(
        self,
        stage: Stage,
        reply: str = "550 5.7.1 refused by the test",
        *,
        recipient: str | None = None,
        times: int | None = None,
    ) -> Rule:
        """Answer ``reply`` (code, enhanced code, text; 421 also hangs up) at ``stage``."""
        return self.policy.add(Rule(stage, reply, recipient=recipient, times=times))

    def lift(self, rule: Rule) -> None:
        """End one fault."""
        self.policy.remove(rule)

    def release_held(self) -> None:
        """Move every held message back into the queue and deliver."""
        self._run("postsuper", "-H", "ALL")
        self.flush()

    def requeue(self) -> None:
        """``postsuper -r ALL``: every message passes the queue again from its start."""
        self._run("postsuper", "-r", "ALL")
        self.flush()

    def drop_queue(self) -> None:
        """Delete every message in every queue."""
        self._run("postsuper", "-d", "ALL")

    def flush(self) -> None:
        """Try everything deferred now."""
        self._run("postqueue", "-f")

    def queued(self) -> int:
        """How many messages are in all queues, held ones too."""
        names = ("incoming", "active", "deferred", "hold", "maildrop")
        return sum(1 for name in names for path in (self.folder / "queue" / name).rglob("*") if path.is_file())

    def inject(self, recipient: str, message: bytes, *, sender: str = "outside@example.net") -> None:
        """Send one message by SMTP, as some other host would."""
        with smtplib.SMTP(self.host, self.port, local_hostname="outside.example.net") as client:
            client.sendmail(sender, [recipient], message)

    # The mail server's own word.

    def log_lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def accepted(self) -> list[tuple[str, str]]:
        """(queue id, message id) of every message taken into the queue, in order; one sent twice stands here twice.

        A message that was refused after its last byte, or broken off, has a message id in the log and no more.
        """
        held = {path.name for path in (self.folder / "queue" / "hold").rglob("*")}
        return taken_in(self.log_lines(), held)

    def deliveries(self, recipient: str | None = None) -> list[Delivery]:
        """Every try to deliver that the log holds, in order."""
        found = tries(self.log_lines())
        return [each for each in found if recipient is None or each.recipient == recipient]

"""A private Dovecot: IMAP, IMAPS and LMTP on free loopback ports, Maildir, Sieve, accounts made while it runs.

Not the machine's Dovecot, and no system user: mail belongs to a bare uid. The penalty for failed logins is off, for
it would turn a wrong password into a time-out of the tests after it. Log lines carry microseconds, so the line
"saved mail to INBOX" is the mail server's own word on when a message arrived.
"""

from __future__ import annotations

import os
import re
import shutil
import smtplib
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from imapclient import IMAPClient

from tests.worlds.certificates import Certificates
from tests.worlds.ports import LOOPBACK, alive, children, end_process, free_ports, listening, run_tool, wait_until

DOMAIN = "lab.test"
PASSWORD = "secret"
_UID = 5000

_CONFIGURATION = """\
base_dir = {folder}/run
protocols = imap lmtp
log_path = {log}
log_timestamp = "%Y-%m-%dT%H:%M:%S.%{{usecs}}Z "
listen = 127.0.0.1
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
auth_username_format = %Lu
mail_location = maildir:~/Maildir
mail_max_userip_connections = 2000
first_valid_uid = {uid}
default_client_limit = 5000
default_process_limit = 3000
default_vsz_limit = 1G
mailbox_list_index = no
recipient_delimiter = +
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/accounts/%u
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {folder}/accounts/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Junk {{
    auto = create
    special_use = \\Junk
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
service auth {{
  client_limit = 20000
  unix_listener submission-auth {{
    mode = 0666
  }}
}}
service anvil {{
  client_limit = 20000
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
protocol lmtp {{
  postmaster_address = postmaster@{domain}
  mail_plugins = sieve
}}
protocol imap {{
  imap_idle_notify_interval = 2 mins
}}
plugin {{
  sieve = file:~/sieve;active=~/.dovecot.sieve
}}
"""

_SAVED = re.compile(
    r"^(?P<at>\S+) lmtp\((?P<user>[^)]+)\).*?: (?:sieve: )?msgid=(?P<id>.*?): (?:\w+ action: )?"
    r"(?:saved mail to|stored mail into mailbox) '?(?P<folder>[^']*)'?"
)


@dataclass(frozen=True, slots=True)
class Account:
    """A mailbox user: ``address`` is both login and recipient."""

    address: str
    password: str = PASSWORD

    @property
    def local_part(self) -> str:
        return self.address.partition("@")[0]


@dataclass(frozen=True, slots=True)
class Saved:
    """One message that Dovecot's log says it stored; ``at`` has microseconds."""

    at: datetime
    user: str
    message_id: str
    folder: str


class Dovecot:
    """One instance. ``imap_port`` speaks plain and STARTTLS, ``imaps_port`` implicit TLS, ``lmtp_port`` LMTP.

    Accounts canary1@lab.test to canaryN@lab.test exist from the start; ``new_account`` makes one that nobody shares.
    """

    host = LOOPBACK

    def __init__(self, certificates: Certificates | None = None, *, accounts: int = 3, extra: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mailcanary-dovecot-"))
        self.folder.chmod(0o755)
        self.certificates = certificates or Certificates(self.folder)
        self.log = self.folder / "dovecot.log"
        self.imap_port, self.imaps_port, self.lmtp_port = free_ports(3)
        self._configuration = self.folder / "dovecot.conf"
        self._numbers = count(1)
        for name in ("run", "mail", "accounts"):
            (self.folder / name).mkdir(mode=0o755)
        os.chown(self.folder / "mail", _UID, _UID)
        for _ in range(accounts):
            self.new_account()
        self._configuration.write_text(self._render() + extra)

    def _render(self) -> str:
        return _CONFIGURATION.format(
            folder=self.folder,
            log=self.log,
            certificate=self.certificates.certificate,
            key=self.certificates.key,
            uid=_UID,
            imap=self.imap_port,
            imaps=self.imaps_port,
            lmtp=self.lmtp_port,
            domain=DOMAIN,
        )

    @property
    def auth_socket(self) -> Path:
        """Where a submission server asks for SASL (Postfix ``smtpd_sasl_path``)."""
        return self.folder / "run" / "submission-auth"

    @property
    def running(self) -> bool:
        pid = self._pid
        return pid is not None and alive(pid)

    @property
    def _pid(self) -> int | None:
        try:
            return int((self.folder / "run" / "master.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def start(self) -> None:
        """Start and wait until IMAP and LMTP accept; nothing happens when it runs already."""
        if self.running:
            return
        run_tool(["dovecot", "-c", self._configuration], self.log)
        for port in (self.imap_port, self.lmtp_port):
            wait_until(lambda port=port: listening(port), 10, f"dovecot listens on {port}", self.log)  # type: ignore[misc]

    def stop(self) -> None:
        """End the master and with it every connection."""
        if (pid := self._pid) is not None:
            family = children(pid)
            end_process(pid)
            for child in family:  # those with a client live on without their master
                end_process(child)
            (self.folder / "run" / "master.pid").unlink(missing_ok=True)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop, and remove the folder with all mail."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_account(self, password: str = PASSWORD) -> Account:
        """A new user with an empty mailbox, usable at once."""
        account = Account(f"canary{next(self._numbers)}@{DOMAIN}", password)
        self._write(account)
        return account

    def set_password(self, address: str, password: str) -> Account:
        """Change the password; returns when Dovecot knows it (it looks at a file once a second at most).

        Sessions that are logged in stay so: use ``disconnect`` to end them.
        """
        account = Account(address, password)
        self._write(account)
        if self.running:
            wait_until(lambda: self._accepts(account), 5, f"the new password of {address} works", self.log)
        return account

    def remove_account(self, address: str) -> None:
        """The user is unknown when this returns (LMTP says 550 5.1.1); Dovecot needs up to a second to notice."""
        (self.folder / "accounts" / address).unlink()
        if self.running:
            wait_until(lambda: self._doveadm("user", address, check=False) != 0, 5, f"{address} is gone", self.log)

    def _write(self, account: Account) -> None:
        path = self.folder / "accounts" / account.address
        new = path.with_suffix(".new")
        home = self.folder / "mail" / account.address
        new.write_text(f"{account.address}:{{PLAIN}}{account.password}:{_UID}:{_UID}::{home}\n")
        # The stamp Dovecot compares has whole seconds: a second change within one must still differ.
        stamp = path.stat().st_mtime + 1 if path.exists() else new.stat().st_mtime
        os.utime(new, (int(stamp), int(stamp)))
        new.rename(path)

    def _accepts(self, account: Account) -> bool:
        return self._doveadm("auth", "test", account.address, account.password, check=False) == 0

    def disconnect(self, address: str) -> None:
        """End every IMAP session of the user."""
        self._doveadm("kick", address, check=False)

    def _doveadm(self, *arguments: str, check: bool = True) -> int:
        return run_tool(["doveadm", "-c", self._configuration, *arguments], self.log, check=check)

    def imap(self, account: Account) -> IMAPClient:
        """A second client, logged in over implicit TLS; use it as a context manager."""
        client = IMAPClient(self.host, self.imaps_port, ssl_context=self.certificates.client_context(), timeout=20)
        client.normalise_times = False
        client.login(account.address, account.password)
        return client

    def deliver(self, recipient: str, message: bytes, *, sender: str = "outside@example.net") -> None:
        """Put one message into the mailbox by LMTP, as Postfix would; raises ``smtplib`` errors on refusal."""
        with smtplib.LMTP(self.host, self.lmtp_port) as client:
            client.sendmail(sender, [recipient], message)

    def deliver_many(self, recipient: str, messages: list[bytes], *, sender: str = "outside@example.net") -> None:
        """Many foreign messages, written straight into the Maildir: thousands a second. Dovecot finds them itself."""
        folder = self.folder / "mail" / recipient / "Maildir"
        for name in ("tmp", "new", "cur"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for path in (folder.parent, folder, *(folder / name for name in ("tmp", "new", "cur"))):
            os.chown(path, _UID, _UID)
        start = len(os.listdir(folder / "new")) + len(os.listdir(folder / "cur"))
        for number, message in enumerate(messages, start):
            name = f"1700000000.M{number}P{os.getpid()}.bulk"
            (folder / "tmp" / name).write_bytes(b"Return-Path: <" + sender.encode() + b">\n" + message)
            os.chown(folder / "tmp" / name, _UID, _UID)
            (folder / "tmp" / name).rename(folder / "new" / name)

    def rule(self, address: str, script: str) -> None:
        """Install a Sieve script (RFC 5228) for the user: a real server-side rule, run at LMTP delivery."""
        home = self.folder / "mail" / address
        home.mkdir(exist_ok=True)
        os.chown(home, _UID, _UID)
        path = home / ".dovecot.sieve"
        path.write_text(script)
        os.chown(path, _UID, _UID)
        (home / ".dovecot.svbin").unlink(missing_ok=True)

    def file_into(self, address: str, folder: str) -> None:
        """A server rule that files all of the user's new mail in ``folder``, which it makes when missing."""
        self.rule(address, f'require ["fileinto", "mailbox"];\nfileinto :create "{folder}";\n')

    def without_rules(self, address: str) -> None:
        """Remove the user's Sieve script."""
        for name in (".dovecot.sieve", ".dovecot.svbin"):
            (self.folder / "mail" / address / name).unlink(missing_ok=True)

    def log_lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def saved(self, address: str | None = None) -> list[Saved]:
        """What the log says was stored, oldest first; the instant is that of the log line."""
        matches = (_SAVED.match(line) for line in self.log_lines())
        found = (
            Saved(_instant(match["at"]), match["user"], match["id"].strip(), match["folder"])
            for match in matches
            if match
        )
        return [each for each in found if address is None or each.user == address]


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)

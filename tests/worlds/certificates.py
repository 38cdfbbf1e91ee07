"""One certificate authority a session and the certificate it gives the servers. Real chains, so that verification is
tested switched on: clients are given ``ca_file``.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme

NAMES = ("localhost", "127.0.0.1", "mx.lab.test", "imap.lab.test")


class Certificates:
    """``ca_file``, ``certificate`` and ``key`` as PEM files in ``folder``; the certificate is valid for ``NAMES``."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.certificate = folder / "server.pem"
        self.key = folder / "server.key"
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.issue(self.certificate, self.key, *NAMES)

    def issue(self, certificate: Path, key: Path, *names: str) -> None:
        """Write one more chain and its key, for other names (a wrong host name, say)."""
        issued = self.authority.issue_cert(*names)
        certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        key.chmod(0o600)

    def client_context(self) -> ssl.SSLContext:
        """A client's context that trusts this authority alone and checks the host name."""
        return ssl.create_default_context(cafile=str(self.ca_file))

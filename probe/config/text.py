"""The small words of the configuration and their grammar: names, addresses, hosts, ``listen``.

An address or host from here is safe in an SMTP command and in a header: ASCII, no space, no control character.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import NewType

from probe.options import Secret

NAME_RULE = "a name is 1 to 32 of a-z, 0-9 and -, and begins with a letter or digit"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):(\d{1,5})", re.ASCII)

Share = NewType("Share", float)
"""A part of a whole, 0 to 1; written as a percentage."""


SecretBytes = NewType("SecretBytes", Secret)
"""A secret that may be any bytes; every other one is UTF-8 text."""


class RuleError(Exception):
    """The rule that a text breaks, in words that can follow the text itself."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the web side binds. ``host`` is an IP address (IPv6 without brackets) or a host name."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_name(text: str) -> bool:
    """Whether ``text`` may name a route, sender, mailbox or prober."""
    return _NAME.fullmatch(text) is not None


def is_domain(text: str) -> bool:
    """Whether ``text`` is a domain name in ASCII (RFC 5321 4.1.2, without address literals)."""
    return len(text) <= 253 and _DOMAIN.fullmatch(text) is not None


def address_rule(text: str) -> str | None:
    """The rule that ``text`` breaks as a mail address, or None. Quoted local parts and literals are refused."""
    local, at, domain = text.rpartition("@")
    if not at or not _LOCAL.fullmatch(local) or not is_domain(domain):
        return "must be a mail address such as canary@example.org"
    if len(local) > 64:
        return "has more than 64 characters before the @ (RFC 5321 4.5.3.1.1)"
    if len(text) > 254:
        return "is longer than 254 characters"
    return None


def parse_listen(text: str) -> Listen:
    """``host:port``, with an IPv6 host in brackets."""
    match = _LISTEN.fullmatch(text)
    if not match or not 1 <= int(match[2]) <= 65535:
        raise RuleError("must be host:port, such as 127.0.0.1:9925 or [::1]:9925")
    host = match[1].strip("[]")
    if not _is_address(host) and (":" in host or not is_domain(host) or host.rpartition(".")[2].isdigit()):
        raise RuleError("must name an IP address or a host before the port")
    return Listen(host, int(match[2]))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

"""From a file to a ``Config``, or to every breach at once.

    read the tree (reading.py) → each section by its dataclass (fields.py) → rules between sections (rules.py)

It touches no network and creates nothing; it reads the file, the secrets it refers to and the host's name.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import socket
from collections.abc import Callable, Iterator
from collections.abc import Mapping as Table
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from probe.canary.identity import MIN_SECRET, SigningKey
from probe.config import rules
from probe.config.fields import (
    FAILED,
    Findings,
    as_mapping,
    build,
    nearest,
    options_of,
    read_fields,
    read_options,
    read_value,
    shown,
    type_hints,
)
from probe.config.model import Config, Detection, Key, Limits, Route
from probe.config.reading import Entry, Listing, Mapping, Node, Refused, Scalar, read_file, read_tree
from probe.config.secrets import SecretStore
from probe.config.text import NAME_RULE, is_name
from probe.errors import ConfigError
from probe.mailboxes import kinds as mailbox_kinds
from probe.senders import kinds as sender_kinds

SECTIONS = ("keys", "senders", "mailboxes", "routes")
MAX_NAMED = 20_000
_POSTGRES = re.compile(r"[a-z0-9+]+://")


def load(path: Path | str, *, secrets: bool = True) -> Config:
    """The configuration of the file. Raises ConfigError with all breaches in file order.

    ``secrets`` False: for commands that only read the ledger. References are checked for their form and not
    resolved, so that the command needs none of the daemon's credentials; ``keys`` is then empty.
    """
    path = Path(path)
    return parse(read_file(path), str(path), secrets=secrets)


def parse(text: str, source: str, *, environ: Table[str, str] | None = None, secrets: bool = True) -> Config:
    """The configuration of ``text``; ``source`` names it in messages, ``environ`` replaces the environment."""
    tree, shape = read_tree(text, source)
    found = Findings(shape, SecretStore(os.environ if environ is None else environ, resolve=secrets))
    config = _Reading(tree, found).config()
    breaches = found.in_file_order()
    if breaches or config is None:
        raise ConfigError(source, breaches)
    return config


def host_name() -> str:
    """The host's short name as a prober's name; ``prober`` where nothing is left of it."""
    short = socket.gethostname().partition(".")[0].lower()
    return re.sub(r"[^a-z0-9-]+", "-", short).strip("-")[:32] or "prober"


class _Reading:
    """One pass over one tree."""

    def __init__(self, tree: Mapping, found: Findings) -> None:
        self._tree = tree
        self._found = found
        found.place("", tree.line)
        for name, entry in tree.entries.items():
            found.place(name, entry.line)

    def config(self) -> Config | None:
        self._postgres()
        top = self._top()
        keys = self._keys()
        senders = self._kinds("senders", sender_kinds.kind, sender_kinds.names())
        mailboxes = self._kinds("mailboxes", mailbox_kinds.kind, mailbox_kinds.names())
        routes = self._routes(top, senders, mailboxes)
        if keys is None or senders is None or mailboxes is None or routes is None:
            return None
        made = build(Config, top, "", self._found, keys=keys, senders=senders, mailboxes=mailboxes, routes=routes)
        return None if made is FAILED else made

    def _postgres(self) -> None:
        entry = self._tree.entries.get("ledger")
        if entry and isinstance(entry.value, Scalar) and _POSTGRES.match(entry.value.text):
            # the URL may hold a password, so it is not shown
            self._found.add("ledger", "a database server comes with a later version; this one wants the path of a file")
            self._tree.entries["ledger"] = Entry("ledger", entry.line, Refused(entry.line))

    def _top(self) -> dict[str, Any]:
        """The options outside the named sections."""
        tree = self._tree
        if "prober" not in tree.entries:
            line = tree.line
            tree.entries["prober"] = Entry("prober", line, Scalar(line, host_name(), quoted=True))
        return read_fields(Config, tree, "", self._found, other=SECTIONS)

    def _section(self, name: str) -> Mapping | None:
        """The mapping of a required section with at least one valid name in it."""
        entry = self._tree.entries.get(name)
        if entry is None:
            self._found.add(name, "is required")
            return None
        mapping = as_mapping(entry.value, name, self._found)
        if mapping is None:
            return None
        if not mapping.entries:
            self._found.add(name, "must hold at least one")
        elif len(mapping.entries) > MAX_NAMED:
            self._found.add(name, f"holds more than {MAX_NAMED}")
            return None
        for key, child in mapping.entries.items():
            self._found.place(f"{name}.{key}", child.line)
            if not is_name(key):
                self._found.add(f"{name}.{key}", NAME_RULE)
        return mapping

    def _keys(self) -> tuple[SigningKey, ...] | None:
        entry = self._tree.entries.get("keys")
        if entry is None:
            self._found.add("keys", "is required; make a key with mailcanary keygen FILE")
            return None
        if isinstance(entry.value, Refused):
            return None
        if not isinstance(entry.value, Listing) or not entry.value.items:
            self._found.add("keys", "must be a list of keys, such as [{id: k1, secret: {file: /etc/mailcanary/k1}}]")
            return None
        keys = list(self._each_key(entry.value))
        rules.check_keys(keys, self._found)
        if not self._found.store.resolves:
            return ()
        return tuple(key for _, key, _, _ in keys if key is not None)

    def _each_key(self, listing: Listing) -> Iterator[tuple[int, SigningKey | None, str, int | None]]:
        for place, item in enumerate(listing.items):
            path = f"keys.{place}"
            self._found.place(path, item.line)
            fields = read_fields(Key, item, path, self._found)
            if "id" not in fields:
                continue
            secret = fields.get("secret")
            resolved = secret is not None and self._found.store.resolves
            length = len(secret.reveal()) if secret is not None and resolved else None
            usable = length is not None and length >= MIN_SECRET
            key = SigningKey(fields["id"], secret.reveal()) if secret is not None and usable else None
            yield place, key, fields["id"], length

    def _kinds(self, section: str, kind: Callable[[str], ModuleType], names: Any) -> dict[str, Any] | None:
        """The named senders or mailboxes, each by the options of its kind."""
        mapping = self._section(section)
        if mapping is None:
            return None
        known = sorted(names)
        once = functools.cache(kind)  # finding a kind reads a folder
        return {
            name: self._one_kind(f"{section}.{name}", entry.value, once, known)
            for name, entry in mapping.entries.items()
        }

    def _one_kind(self, path: str, node: Node, kind: Callable[[str], ModuleType], names: list[str]) -> Any:
        found = self._found
        mapping = as_mapping(node, path, found)
        if mapping is None:
            return FAILED
        entry = mapping.entries.get("kind")
        if entry is None:
            found.add(f"{path}.kind", f"is required: one of {', '.join(names)}")
            return FAILED
        name = read_value(str, entry.value, f"{path}.kind", found)
        if name is FAILED:
            return FAILED
        if name not in names:
            hint = nearest(name, names)
            found.add(f"{path}.kind", f"{shown(name)} is not a kind; there is {', '.join(names)}{hint}", entry.line)
            return FAILED
        return read_options(kind(name).OPTIONS, mapping, path, found, other=("kind",))

    def _routes(
        self, top: dict[str, Any], senders: dict[str, Any] | None, mailboxes: dict[str, Any] | None
    ) -> dict[str, Route] | None:
        found = self._found
        mapping = self._section("routes")
        if mapping is None:
            return None
        fields: dict[str, dict[str, Any]] = {}
        routes: dict[str, Route] = {}
        keep: timedelta | None = top.get("keep")
        for name, entry in mapping.entries.items():
            path = f"routes.{name}"
            fields[name] = read_fields(Route, entry.value, path, found)
            if senders is not None:
                rules.check_reference(name, fields[name], found, "sender", senders, "sender")
            if mailboxes is not None:
                rules.check_reference(name, fields[name], found, "mailbox", mailboxes, "mailbox")
                rules.check_reference(name, fields[name], found, "bounces", mailboxes, "mailbox")
            rules.check_tags(name, fields[name], found)
            rules.check_deadlines(name, fields[name], keep, found)
            route = build(Route, fields[name], path, found, name=name)
            if route is not FAILED:
                routes[name] = route
        limits, detection = top.get("limits"), top.get("detection")
        if isinstance(limits, Limits):
            rules.check_ceilings(limits, found)
            rules.check_rates(routes, limits, found)
        if isinstance(detection, Detection):
            rules.check_detection(detection, fields, found)
        if "prober" in top:
            rules.check_marks(top["prober"], routes, found)
        rules.check_series(sum(rules.legs_of((senders or {}).get(route.sender)) for route in routes.values()), found)
        return routes


def declared_options(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """Every option of a dataclass by dotted name, those of nested ones included; for the reference and its tests."""
    hints = type_hints(cls)
    result: dict[str, dataclasses.Field[Any]] = {}
    for name, field in options_of(cls).items():
        result[name] = field
        if dataclasses.is_dataclass(hints[name]) and isinstance(hints[name], type) and options_of(hints[name]):
            inner = declared_options(hints[name])
            result.update({f"{name}.{key}": value for key, value in inner.items()})
    return result

"""A mapping of the tree as an options dataclass: the one place that knows how options are declared and how they are
written. It knows no option by name, and collects every breach instead of stopping at the first.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Final, Union, get_args, get_origin

from probe.config import secrets, values
from probe.config.reading import Listing, Mapping, Node, Refused, Scalar
from probe.config.text import RuleError, SecretBytes
from probe.errors import Breach
from probe.options import Rate, Secret

MAX_SHOWN = 60
MAX_ITEMS = 1000


class _Failed:
    """The mark of a value that could not be had; its breach is recorded."""


FAILED: Final = _Failed()


def nearest(word: str, valid: Iterable[str]) -> str:
    """`` (did you mean …?)`` where some valid word is near, else the empty text."""
    close = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def shown(text: str) -> str:
    """A value for a message: quoted, escaped and cut."""
    return repr(text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…")


class Findings:
    """The breaches found so far, and the line of every key that was read."""

    def __init__(self, breaches: Iterable[Breach], store: secrets.SecretStore) -> None:
        self._breaches = list(breaches)
        self._lines: dict[str, int] = {}
        self.store = store

    def place(self, path: str, line: int) -> None:
        """Remember that ``path`` is written on ``line``."""
        self._lines[path] = line

    def written(self, *paths: str) -> str:
        """The first of ``paths`` that stands in the file; the first of all where none does."""
        return next((path for path in paths if path in self._lines), paths[0])

    def line(self, path: str) -> int:
        """The line of ``path``, or of the nearest thing that holds it."""
        while path and path not in self._lines:
            path = path.rpartition(".")[0]
        return self._lines.get(path, 0)

    def add(self, path: str, message: str, line: int | None = None) -> None:
        self._breaches.append(Breach(path, self.line(path) if line is None else line, message))

    def in_file_order(self) -> list[Breach]:
        return sorted(self._breaches, key=lambda breach: breach.line)


def options_of(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """The options of a dataclass: its fields made by ``option``, by name."""
    return {field.name: field for field in dataclasses.fields(cls) if "doc" in field.metadata}


@cache  # a thousand routes are read by the same hints
def type_hints(cls: type) -> dict[str, Any]:
    """The fields' types, evaluated."""
    return typing.get_type_hints(cls)


def read_fields(cls: type, node: Node, path: str, found: Findings, *, other: Iterable[str] = ()) -> dict[str, Any]:
    """The options of ``cls`` as written in ``node``, defaults filled in. An option that failed is absent.

    ``other``: keys that are valid here but read elsewhere.
    """
    mapping = as_mapping(node, path, found)
    if mapping is None:
        return {}
    declared = options_of(cls)
    hints = type_hints(cls)
    known = [*other, *declared]
    for key, entry in mapping.entries.items():
        if key not in known:
            found.add(join(path, key), f"is not an option here{nearest(key, known)}", entry.line)
    result: dict[str, Any] = {}
    for name, field in declared.items():
        entry_or_none = mapping.entries.get(name)
        here = join(path, name)
        if entry_or_none is not None:
            found.place(here, entry_or_none.line)
        if entry_or_none is None or (isinstance(entry_or_none.value, Scalar) and entry_or_none.value.nothing):
            if field.default is dataclasses.MISSING:
                found.add(here, "is required")
            else:
                result[name] = field.default
            continue
        value = read_value(hints[name], entry_or_none.value, here, found, off=field.default is not None)
        if value is FAILED:
            continue
        rule = _own_rule(field, value, found)
        if rule is None:
            result[name] = value
        else:
            found.add(here, rule if _secret(hints[name]) else _with_value(entry_or_none.value, rule))
    return result


def _own_rule(field: dataclasses.Field[Any], value: Any, found: Findings) -> str | None:
    if value is None or field.metadata["check"] is None:
        return None
    if isinstance(value, Secret) and not found.store.resolves:
        return None
    rule: str | None = field.metadata["check"](value)
    return rule


def _with_value(node: Node, rule: str) -> str:
    return f"{shown(node.text)} {rule}" if isinstance(node, Scalar) and rule.startswith(_VERBS) else rule


# A rule that begins with one of these follows the value: `'5x' must be …`; any other stands alone.
_VERBS = ("must ", "is ", "has ", "holds ")


def _secret(hint: Any) -> bool:
    return not {Secret, SecretBytes}.isdisjoint((hint, *get_args(hint)))


def build(cls: type, fields: dict[str, Any], path: str, found: Findings, **more: Any) -> Any:
    """The dataclass, checked by its own ``breaches()``; FAILED where an option is absent."""
    if not options_of(cls).keys() <= fields.keys():
        return FAILED
    made = cls(**more, **fields)
    rules = getattr(made, "breaches", None)
    broken = list(rules()) if rules is not None else []
    for key, rule in broken:
        found.add(join(path, key), rule)
    return FAILED if broken else made


def read_options(cls: type, node: Node, path: str, found: Findings, *, other: Iterable[str] = ()) -> Any:
    """``read_fields`` and ``build`` in one."""
    return build(cls, read_fields(cls, node, path, found, other=other), path, found)


def read_value(hint: Any, node: Node, path: str, found: Findings, *, off: bool = True) -> Any:
    """The value of ``node`` as ``hint``, or FAILED. ``off``: whether an optional duration may be switched off."""
    if isinstance(node, Refused):
        return FAILED
    if get_origin(hint) in (Union, types.UnionType):
        (inner,) = (arg for arg in get_args(hint) if arg is not type(None))
        if inner is timedelta and off and isinstance(node, Scalar) and node.text == "off":
            return None
        return read_value(inner, node, path, found)
    if hint in (Secret, SecretBytes):
        return _read_secret(node, path, found, text=hint is Secret)
    if get_origin(hint) is tuple:
        return _read_tuple(get_args(hint)[0], node, path, found)
    if dataclasses.is_dataclass(hint) and hint not in values.PARSERS:
        return read_options(typing.cast("type", hint), node, path, found)
    if not isinstance(node, Scalar):
        found.add(path, "must be a single value", node.line)
        return FAILED
    return _read_scalar(hint, node, path, found)


def _read_scalar(hint: Any, node: Scalar, path: str, found: Findings) -> Any:
    try:
        if isinstance(hint, type) and issubclass(hint, StrEnum):
            return values.parse_choice(hint, node.text)
        return values.PARSERS[hint](node.text)
    except RuleError as broken:
        found.add(path, f"{shown(node.text)} {broken}", node.line)
        return FAILED


def _read_tuple(inner: Any, node: Node, path: str, found: Findings) -> Any:
    if inner is Rate and isinstance(node, Scalar):
        items: list[Node] = [Scalar(node.line, part.strip(), node.quoted) for part in node.text.split(",")]
    elif isinstance(node, Listing):
        items = node.items
    else:
        found.add(path, "must be a list, such as [one, two]", node.line)
        return FAILED
    if len(items) > MAX_ITEMS:
        found.add(path, f"has more than {MAX_ITEMS} items", node.line)
        return FAILED
    read = [read_value(inner, item, join(path, str(n)), found) for n, item in enumerate(items)]
    return FAILED if any(value is FAILED for value in read) else tuple(read)


def _read_secret(node: Node, path: str, found: Findings, *, text: bool) -> Any:
    """A reference resolved; ``text``: it must be UTF-8. What stands here is never shown: it may be the secret."""
    line = node.line
    if not isinstance(node, Mapping):
        found.add(path, f"a secret is a reference, {secrets.REFERENCE}, never the value itself", line)
        return FAILED
    if len(node.entries) != 1 or next(iter(node.entries)) not in secrets.SOURCES:
        found.add(path, f"must be one of {secrets.REFERENCE}", line)
        return FAILED
    ((kind, entry),) = node.entries.items()
    if isinstance(entry.value, Refused):
        return FAILED
    if not isinstance(entry.value, Scalar) or entry.value.nothing:
        found.add(join(path, kind), "must name where the secret is", entry.line)
        return FAILED
    try:
        secret = found.store.get(kind, entry.value.text)
        if text:
            secret.text()
    except secrets.SecretError as error:
        found.add(join(path, kind), str(error), entry.line)
        return FAILED
    except UnicodeDecodeError:
        found.add(join(path, kind), "the secret is not UTF-8 text", entry.line)
        return FAILED
    return secret


def as_mapping(node: Node, path: str, found: Findings) -> Mapping | None:
    """``node`` as a mapping; an empty value is an empty mapping; else a breach and None."""
    if isinstance(node, Mapping):
        return node
    if isinstance(node, Scalar) and node.nothing:
        return Mapping(node.line)
    if not isinstance(node, Refused):
        found.add(path, "must be a mapping of options", node.line)
    return None


def join(path: str, key: str) -> str:
    """Dotted."""
    return f"{path}.{key}" if path else key

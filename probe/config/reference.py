"""The option reference as Markdown, from the code: ``python -m probe.config.reference > docs/options.md``.

Keys, types, defaults and sentences come from the options' declarations; rules are the program's own words, had by
giving each rule a value that breaks it, or read from the source where it spans options.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
import types
from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin

from probe.config import rules
from probe.config.fields import options_of, type_hints
from probe.config.model import Config, Detection, Heartbeat, Key, Limits, Route, Web
from probe.config.rules import spoken
from probe.config.text import Listen, SecretBytes, Share
from probe.mailboxes import kinds as mailbox_kinds
from probe.options import Rate, Secret
from probe.senders import kinds as sender_kinds

_INTRO = """\
# Options

Made from the program by `python -m probe.config.reference`; do not edit. What to choose, and why:
[configure.md](configure.md). A file with every option: [config.example.yaml](../config.example.yaml).

Durations have a unit: `100ms`, `60s`, `2m`, `2h`, `3d`; a rate is `10/s`, `20/min` or `1000/h`, and a list of rates may
stand in one line: `20/min, 1000/h`. A secret is `{credential: NAME}`, `{file: /path}` or `{env: NAME}`, never the value
itself. A name is 1 to 32 of a-z, 0-9 and -, and begins with a letter or digit. An option left empty has its default.
Unknown and repeated keys, anchors, aliases and tags are errors. The last column is what `mailcanary check` says when
the option's own rule is broken.
"""

_TYPES: Final[dict[Any, str]] = {
    str: "text",
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    Share: "percentage",
    timedelta: "duration",
    Rate: "rate",
    Path: "absolute path",
    Listen: "`host:port`",
    Secret: "secret",
    SecretBytes: "secret",
}
# A default that the loader finds out instead of the declaration.
_FOUND_OUT: Final[dict[tuple[type, str], str]] = {(Config, "prober"): "the host's short name"}
# One of these breaks every rule that there is for a single option.
_BREAKING: Final[tuple[Any, ...]] = (
    timedelta(0), 0, 65536, "", "?", "a b", (), ("?",), ("a b",), (timedelta(0),), Share(0.0), Path("/"), True,
    Secret(b""), Secret(b"x"), Rate(0, timedelta(seconds=1)),
)  # fmt: skip


def reference() -> str:
    """The whole page."""
    parts = [_INTRO, *_section("Top", Config, "Outside any section."), *_section("`keys`", Key, _first(Key))]
    for title, kinds in (("senders", sender_kinds), ("mailboxes", mailbox_kinds)):
        for name, options in _own_kinds(kinds):
            parts += _section(f"`{title}`, `kind: {name}`", options, _first(options))
    parts += _section("`routes`", Route, _first(Route))
    for title, section in (("limits", Limits), ("detection", Detection), ("heartbeat", Heartbeat), ("web", Web)):
        parts += _section(f"`{title}`", section, _first(section))
    parts += ["## Rules between sections", ""]
    between = [rule for name, rule in inspect.getmembers(rules, inspect.isfunction) if name.startswith("check_")]
    parts += [f"* {_first(rule)}" for rule in sorted(between, key=lambda rule: rule.__code__.co_firstlineno)]
    return "\n".join(parts) + "\n"


def _own_kinds(kinds: Any) -> Iterator[tuple[str, type]]:
    """The kinds that come with the program, whatever else is installed beside it."""
    for name in kinds.names():
        module = kinds.kind(name)
        if module.__name__.startswith("probe."):
            yield name, module.OPTIONS


def _section(title: str, cls: type, lead: str) -> list[str]:
    rows = [f"## {title}", "", lead, "", "| key | type | default | meaning | rule |", "|---|---|---|---|---|"]
    rows += _rows(cls, "")
    spanning = list(_spanning(cls, ""))
    return [*rows, *(["", "Between its options:", "", *spanning] if spanning else []), ""]


def _rows(cls: type, prefix: str) -> Iterator[str]:
    hints = type_hints(cls)
    for name, field in options_of(cls).items():
        hint = hints[name]
        if _nested(hint):
            if cls is not Config:  # the sections of the top have tables of their own
                yield f"| `{prefix}{name}` | mapping |  | {field.metadata['doc']} |  |"
                yield from _rows(hint, f"{prefix}{name}.")
            continue
        default = _FOUND_OUT.get((cls, name)) or _written(field.default, hint)
        cells = (_type(hint, field), default, field.metadata["doc"], _rule(field))
        yield f"| `{prefix}{name}` | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _nested(hint: Any) -> bool:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint) and bool(options_of(hint))


def _type(hint: Any, field: dataclasses.Field[Any]) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        (inner,) = (arg for arg in get_args(hint) if arg is not type(None))
        off = " or `off`" if inner is timedelta and field.default is not None else ""
        return _type(inner, field) + off
    if get_origin(hint) is tuple:
        return f"list of {_type(get_args(hint)[0], field)}"
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return ", ".join(f"`{word}`" for word in hint)
    return _TYPES[hint]


def _written(value: Any, hint: Any = None) -> str:
    """A default as it would be written in the file."""
    if value is dataclasses.MISSING:
        return "required"
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple):
        return ", ".join(_written(item) for item in value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, timedelta):
        return f"`{spoken(value)}`"
    if hint is Share:
        return f"`{value * 100:g}%`"
    return f"`{value}`"


def _rule(field: dataclasses.Field[Any]) -> str:
    """What the option's own rule says to the first value that breaks it."""
    check = field.metadata["check"]
    for value in _BREAKING if check is not None else ():
        try:
            rule = check(value)
        except (TypeError, ValueError, AttributeError):  # a value of another type
            continue
        if rule is not None:
            return str(rule)
    if check is not None:
        raise LookupError(f"no value of _BREAKING breaks the rule of {field.name}")
    return ""


def _spanning(cls: type, prefix: str) -> Iterator[str]:
    """The rules of ``breaches()``, of nested options too: each ``yield key, rule``."""
    for name, hint in type_hints(cls).items():
        if cls is not Config and _nested(hint):
            yield from _spanning(hint, f"{prefix}{name}.")
    method = getattr(cls, "breaches", None)
    for key, rule in _yielded(method) if method is not None else ():
        yield f"* `{prefix}{key}`: {rule}"


def _yielded(rules_of: Any) -> Iterator[tuple[str, str]]:
    """Each ``yield key, rule`` in the order of the source; ``yield from`` another function of rules is followed."""
    source = ast.parse(textwrap.dedent(inspect.getsource(rules_of)))
    yields = [node for node in ast.walk(source) if isinstance(node, ast.Yield | ast.YieldFrom)]
    for node in sorted(yields, key=lambda node: node.lineno):
        if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
            key, rule = node.value.elts
            yield _text(key), _text(rule)
        elif isinstance(node, ast.YieldFrom) and isinstance(node.value, ast.Call):
            first, *rest = ast.unparse(node.value.func).split(".")
            found = rules_of.__globals__.get(first)
            for name in rest:
                found = getattr(found, name, None)
            if inspect.isfunction(found):
                yield from _yielded(found)


def _text(node: ast.expr) -> str:
    """A literal; … for each part that is known only when it is said."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "…"


def _first(documented: Any) -> str:
    """The first sentence of the docstring, in one line."""
    lead = " ".join((inspect.getdoc(documented) or "").partition("\n\n")[0].split())
    return lead.partition(". ")[0].removesuffix(".").replace("``", "`") + "."


if __name__ == "__main__":
    sys.stdout.write(reference())

"""YAML as a tree of raw text, with the line of everything in it.

    Scalar   its text as written, and whether it was quoted
    Mapping  entries in file order, each key once
    Listing  items in file order
    Refused  something that was already reported; whoever meets it stays silent

It does not interpret: ``no``, ``010`` and ``12:30:00`` are text here and become values only by the type that is wanted
(values.py), which is why the node graph is never turned into Python objects by the library. The events of the parser
are walked one by one without recursion, so that depth, size and aliases are limited before they can cost anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import yaml

from probe.config.files import FileError, read_regular
from probe.errors import Breach, ConfigError

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20
MAX_BREACHES = 200
_NOTHING = frozenset({"", "~", "null"})
_KEY = re.compile(r"[\x21-\x7e]{1,64}")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as written."""

    line: int
    text: str
    quoted: bool

    @property
    def nothing(self) -> bool:
        """Left empty: the default is meant."""
        return not self.quoted and self.text in _NOTHING


@dataclass(frozen=True, slots=True)
class Refused:
    """A node whose breach was already recorded."""

    line: int


@dataclass(frozen=True, slots=True)
class Listing:
    """A YAML sequence."""

    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping with its value; ``line`` is the key's."""

    key: str
    line: int
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    """A YAML mapping; no key occurs twice."""

    line: int
    entries: dict[str, Entry] = field(default_factory=dict)


Node = Scalar | Mapping | Listing | Refused


class _TooDeepError(Exception):
    """Brackets nested beyond MAX_DEPTH, on this line."""

    def __init__(self, line: int) -> None:
        self.line = line
        super().__init__(line)


class StrictLoader(yaml.SafeLoader):
    """The library's safe loader, of which only the parser is used: nothing is ever constructed."""

    def fetch_flow_collection_start(self, TokenClass: type[yaml.Token]) -> None:
        """Stop at the bracket that is too deep: the scanner looks 1,024 characters ahead, in quadratic time."""
        if self.flow_level >= MAX_DEPTH:
            raise _TooDeepError(self.line + 1)
        super().fetch_flow_collection_start(TokenClass)


def read_file(path: Path) -> str:
    """The text of a configuration file. Raises ConfigError with the next step where it cannot be had."""
    source = str(path)
    try:
        data = read_regular(path, MAX_BYTES)
    except FileError as error:
        step = "; name the file with --config or MAILCANARY_CONFIG" if error.missing else ""
        raise _unusable(source, f"{error}{step}") from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(source, [Breach("", line, "is not UTF-8 text")]) from error


def _unusable(source: str, message: str) -> ConfigError:
    return ConfigError(source, [Breach("", 0, message)])


def _too_deep(source: str, line: int) -> ConfigError:
    return ConfigError(source, [Breach("", line, f"is nested deeper than {MAX_DEPTH} levels")])


def read_tree(text: str, source: str) -> tuple[Mapping, list[Breach]]:
    """The document's tree and what is wrong with its shape. Raises ConfigError where there is no tree to speak of."""
    if len(text) > MAX_BYTES:
        raise _unusable(source, f"is larger than {MAX_BYTES} bytes")
    quick = _quick_tree(text, source)
    if quick is not None:
        return quick.result(), quick.breaches
    tree = _Tree(source)
    try:
        for event in _events(text, StrictLoader):
            tree.take(event)
    except _TooDeepError as error:
        raise _too_deep(source, error.line) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = _QUOTED.sub(_hidden, error.problem or "cannot be parsed")
        message = f"is not valid YAML: {problem}"
        raise ConfigError(source, [*tree.breaches, Breach("", mark.line + 1 if mark else 0, message)]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(source, [Breach("", line, "holds a character that YAML does not allow")]) from None
    return tree.result(), tree.breaches


def _hidden(quoted: re.Match[str]) -> str:
    """What the library quotes, unless it is one character or the name of a token: it may be a secret."""
    inner = quoted[1] or quoted[2] or ""
    return quoted[0] if len(inner) <= 1 or inner.startswith("<") else "'…'"


def _events(text: str, loader_type: type[yaml.SafeLoader] | type[yaml.CSafeLoader]) -> Iterator[yaml.Event]:
    """The parser's events, one at a time; nothing is read ahead of what ``take`` has accepted."""
    loader = loader_type(text)
    try:
        while loader.check_event():
            yield cast("yaml.Event", loader.get_event())
    finally:
        loader.dispose()


def _quick_tree(text: str, source: str) -> _Tree | None:
    """By libyaml, thirty times as fast. None where it is not there, or finds fault: its messages are not as good, and
    it must never decide alone what is refused."""
    if not hasattr(yaml, "CSafeLoader"):
        return None
    tree = _Tree(source)
    try:
        for event in _events(text, yaml.CSafeLoader):
            tree.take(event)
    except (_TooDeepError, yaml.YAMLError, UnicodeError):
        return None
    return tree


@dataclass(slots=True)
class _Open:
    """A mapping or listing not yet closed; ``key`` is the key that waits for its value."""

    node: Mapping | Listing
    key: Scalar | None = None
    skip: bool = False
    path: str = ""


class _Tree:
    """Builds the tree from events, with a stack instead of recursion."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._stack: list[_Open] = []
        self._root: Node | None = None
        self._documents = 0
        self.breaches: list[Breach] = []

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise ConfigError(self._source, [*self.breaches, Breach("", line, "holds more than one document")])
        elif isinstance(event, yaml.AliasEvent):
            self._refuse(line, "aliases (*) are not allowed; write the value out")
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            self._begin(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()

    def _begin(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, line: int) -> None:
        if event.anchor is not None:
            self._report(line, "anchors (&) are not allowed; write the value out where it is needed")
        if event.tag is not None:
            self._report(line, "tags (!) are not allowed")
        if isinstance(event, yaml.ScalarEvent):
            quoted = bool(event.style)
            self._put(Refused(line) if event.tag is not None else Scalar(line, event.value, quoted))
            return
        if len(self._stack) >= MAX_DEPTH:
            raise _too_deep(self._source, line)
        node: Mapping | Listing = Mapping(line) if isinstance(event, yaml.MappingStartEvent) else Listing(line)
        path = self._put(node)
        self._stack.append(_Open(node, path=path))

    def _refuse(self, line: int, message: str) -> None:
        self._report(line, message)
        self._put(Refused(line))

    def _report(self, line: int, message: str, path: str | None = None) -> None:
        if len(self.breaches) >= MAX_BREACHES:
            raise ConfigError(self._source, [*self.breaches, Breach("", line, "and more: too many to list")])
        self.breaches.append(Breach(self._here() if path is None else path, line, message))

    def _here(self) -> str:
        """The dotted path of what comes next."""
        if not self._stack:
            return ""
        top = self._stack[-1]
        if isinstance(top.node, Listing):
            return f"{top.path}.{len(top.node.items)}".lstrip(".")
        return f"{top.path}.{top.key.text}".lstrip(".") if top.key else top.path

    def _put(self, node: Node) -> str:
        """Hang ``node`` where it belongs; its dotted path."""
        path = self._here()
        if not self._stack:
            self._root = node
            return path
        top = self._stack[-1]
        if isinstance(top.node, Listing):
            top.node.items.append(node)
        elif top.key is None and not top.skip:
            self._key(top, node)
        else:
            if not top.skip and top.key is not None:
                top.node.entries[top.key.text] = Entry(top.key.text, top.key.line, node)
            top.key, top.skip = None, False
        return path

    def _key(self, top: _Open, node: Node) -> None:
        assert isinstance(top.node, Mapping)
        if not isinstance(node, Scalar) or not _KEY.fullmatch(node.text):
            top.skip = True
            if not isinstance(node, Refused):
                self._report(node.line, "a key must be a plain word")
        elif node.text in top.node.entries:
            top.skip = True
            first = top.node.entries[node.text].line
            path = f"{top.path}.{node.text}".lstrip(".")
            self._report(node.line, f"is given twice; the first is on line {first}", path)
        else:
            top.key = node

    def result(self) -> Mapping:
        if self._root is None or (isinstance(self._root, Scalar) and self._root.nothing):
            raise ConfigError(self._source, [*self.breaches, Breach("", 0, "is empty; start from config.example.yaml")])
        if not isinstance(self._root, Mapping):
            breach = Breach("", self._root.line, "must be a mapping of options")
            raise ConfigError(self._source, [*self.breaches, breach])
        return self._root

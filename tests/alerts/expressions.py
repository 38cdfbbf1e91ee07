"""What a PromQL expression touches: selectors with their matchers, and the labels that it groups and matches by."""

from __future__ import annotations

from dataclasses import dataclass, field

import promql_parser
from promql_parser import AggModifierType, AggregateExpr, BinaryExpr, Call, MatchOp, MatrixSelector, VectorSelector


@dataclass(frozen=True, slots=True)
class Selector:
    """``name{matchers}``. ``over``: the function that is given its range; "" for an instant selector."""

    name: str
    matchers: tuple[tuple[str, frozenset[str]], ...]  # label, and the values that it names
    over: str


@dataclass(slots=True)
class Uses:
    """Everything that one expression names."""

    selectors: list[Selector] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)  # in by, without, on, ignoring and group_left
    dropped: set[str] = field(default_factory=set)  # in without
    by: list[set[str]] = field(default_factory=list)  # of aggregations only
    functions: set[str] = field(default_factory=set)


def uses(expr: str) -> Uses:
    """Parse and look. Raises ValueError for what is no PromQL."""
    found = Uses()
    function, over = "", ""

    def visit(node: object) -> bool:
        nonlocal function, over
        if isinstance(node, Call):
            function = node.func.name
            found.functions.add(function)
        elif isinstance(node, MatrixSelector):
            over = function  # the walk goes from the call to its range, and from there to the selector
        elif isinstance(node, VectorSelector):
            found.selectors.append(_selector(node, over))
            over = ""
        elif isinstance(node, AggregateExpr):
            labels = set(node.modifier.labels) if node.modifier else set()
            found.labels |= labels
            if node.modifier is None or node.modifier.type == AggModifierType.By:
                found.by.append(labels)
            else:
                found.dropped |= labels
        elif isinstance(node, BinaryExpr) and node.modifier is not None:
            found.labels |= set(node.modifier.group_labels or ())
            if node.modifier.matching is not None:
                found.labels |= set(node.modifier.matching.labels)
        return True

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def _selector(node: VectorSelector, over: str) -> Selector:
    matchers = []
    for one in node.matchers.matchers:
        several = one.op in (MatchOp.Re, MatchOp.NotRe)
        matchers.append((one.name, frozenset(one.value.split("|") if several else [one.value])))
    return Selector(node.name or "", tuple(matchers), over)

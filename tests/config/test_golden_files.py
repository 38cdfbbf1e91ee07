"""No rule of the configuration is without a golden file: every sentence that the loader, a check or a ``breaches()``
can say stands in some message of bad/.

The sentences are taken from the source. What varies in them may be anything; what is fixed must be there word by word.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import probe

HERE = Path(__file__).parent
ROOT = Path(probe.__file__).parent
LOADER = ("fields", "files", "load", "model", "reading", "rules", "secrets", "text", "values")
MESSAGES = "\n".join(path.read_text(encoding="utf-8") for path in sorted((HERE / "bad").glob("*.txt")))

# No configuration file can bring these about, or their message could not lie in a text file: where they are tested.
ELSEWHERE = {
    "shares its mark in tokens with ": "test_load.py",  # takes a collision of four bytes of SHA-256
    "is not a path": "test_secrets.py",  # the path holds a NUL
}
# The words for a fault of the disk, and for a fault of the YAML library that it does not describe.
NEVER = {"cannot be read: ", "cannot be parsed"}

Literal = ast.Constant | ast.JoinedStr


def is_rules(function: ast.AST) -> bool:
    """Whether it says rules: a check (``-> str | None``), or one that yields (key, rule)."""
    if not isinstance(function, ast.FunctionDef):
        return False
    pairs = any(isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple) for node in ast.walk(function))
    return pairs or (function.returns is not None and ast.unparse(function.returns) == "str | None")


def literals(tree: ast.AST) -> Iterator[Literal]:
    """The texts with a space in them, f-strings as one; not docstrings, nor the sentences of ``option``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "option":
            for keyword in node.keywords:
                yield from literals(keyword)
        elif isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            if " " in fixed(node):
                yield node
        else:
            yield from literals(node)


def fixed(node: Literal) -> str:
    """What of the text is always there."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    return "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))


def pattern(node: Literal) -> str:
    if isinstance(node, ast.Constant):
        return re.escape(str(node.value))
    parts = (re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".*?" for part in node.values)
    return "".join(parts)


def sentences() -> Iterator[tuple[str, Literal]]:
    for name in LOADER:
        yield from ((f"config/{name}.py", node) for node in literals(parsed(ROOT / "config" / f"{name}.py")))
    for folder in ("senders", "mailboxes"):
        for path in sorted((ROOT / folder).glob("*.py")):
            for function in filter(is_rules, ast.walk(parsed(path))):
                yield from ((f"{folder}/{path.name}", node) for node in literals(function))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


SENTENCES = list(sentences())


@pytest.mark.parametrize(
    ("where", "node"), SENTENCES, ids=[f"{where}:{node.lineno}:{node.col_offset}" for where, node in SENTENCES]
)
def test_each_sentence_stands_in_a_golden_message(where: str, node: Literal) -> None:
    words = fixed(node)
    elsewhere = next((file for start, file in ELSEWHERE.items() if words.startswith(start)), None)
    if elsewhere is not None:
        assert words.partition(";")[0].strip() in (HERE / elsewhere).read_text(encoding="utf-8")
    elif words not in NEVER:
        assert re.search(pattern(node), MESSAGES), f"{where} says {words!r}, and no file in tests/config/bad shows it"


def test_the_collection_finds_each_way_of_saying_a_rule() -> None:
    found = {fixed(node) for _, node in SENTENCES}
    assert {
        "must be longer than 0",  # a check
        "is required with a username",  # breaches() of a sender
        "canaries cannot be moved into a watched folder",  # rules shared by mailboxes
        "must be a percentage such as 1%",  # a RuleError
        "tags (!) are not allowed",  # the shape of the tree
        "the secret is empty",  # a SecretError
        " shares its byte in tokens with ; choose another id",  # between sections, with parts that vary
    } <= found
    assert len(SENTENCES) > 90

"""The strict tree: shape, lines, and what is refused before it can cost anything."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from probe.config.reading import MAX_BYTES, Listing, Mapping, Refused, Scalar, read_file, read_tree
from probe.errors import ConfigError


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_tree(text, "c")
    return str(caught.value)


def complaints(text: str) -> list[str]:
    return [str(breach) for breach in read_tree(text, "c")[1]]


def test_scalars_keep_their_text_and_line() -> None:
    tree, breaches = read_tree("a: no\nb: 010\n# remark\nc: 12:30:00\nd: 'x'\n", "c")
    assert breaches == []
    assert [entry.value for entry in tree.entries.values()] == [
        Scalar(1, "no", False),
        Scalar(2, "010", False),
        Scalar(4, "12:30:00", False),
        Scalar(5, "x", True),
    ]


def test_nested_nodes_keep_their_lines() -> None:
    tree, _ = read_tree("a:\n  - x\n  - b: {c: d}\n", "c")
    listing = tree.entries["a"].value
    assert isinstance(listing, Listing)
    inner = listing.items[1]
    assert isinstance(inner, Mapping)
    assert (inner.line, inner.entries["b"].line) == (3, 3)
    assert isinstance(inner.entries["b"].value, Mapping)


@pytest.mark.parametrize(("text", "nothing"), [("a:", True), ("a: ~", True), ("a: null", True), ("a: ''", False)])
def test_an_empty_value_means_the_default(text: str, nothing: bool) -> None:
    value = read_tree(text, "c")[0].entries["a"].value
    assert isinstance(value, Scalar)
    assert value.nothing is nothing


@pytest.mark.fault("P28")
def test_alias_bomb_is_refused_at_each_alias_and_expands_nothing() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    found = complaints("\n".join(lines))
    assert found[0] == "line 1: a0: anchors (&) are not allowed; write the value out where it is needed"
    assert "line 2: a1.0: aliases (*) are not allowed; write the value out" in found
    assert len(found) == 9 + 8 * 9


def test_three_thousand_brackets_are_refused() -> None:
    assert refusal("a: " + "[" * 3000) == "c: line 1: is nested deeper than 20 levels"
    assert refusal("a: " + "{a: " * 3000) == "c: line 1: is nested deeper than 20 levels"


def test_deep_blocks_are_refused_on_their_line() -> None:
    text = "\n".join(f"{' ' * n}k:" for n in range(25))
    assert refusal(text) == "c: line 21: is nested deeper than 20 levels"


def test_twenty_levels_are_allowed() -> None:
    assert complaints("a: " + "[" * 19 + "]" * 19) == []


@pytest.mark.fault("P28")
def test_duplicate_keys_are_named_with_both_lines_and_the_first_stays() -> None:
    tree, breaches = read_tree("a: {b: 1, b: [2, {c: 3}]}\na: 5\n", "c")
    assert [str(breach) for breach in breaches] == [
        "line 1: a.b: is given twice; the first is on line 1",
        "line 2: a: is given twice; the first is on line 1",
    ]
    assert isinstance(tree.entries["a"].value, Mapping)


@pytest.mark.parametrize("key", ["? [1, 2]\n: x", "? {a: b}\n: x", "'two words': x", '"\\e[31m": x', "k" * 65 + ": x"])
def test_a_key_is_a_plain_word(key: str) -> None:
    tree, breaches = read_tree(f"{key}\nz: y\n", "c")
    assert [breach.message for breach in breaches] == ["a key must be a plain word"]
    assert list(tree.entries) == ["z"]


def test_tags_are_refused() -> None:
    tree, breaches = read_tree("a: !!python/object:os.system x\nb: !!str 5\n", "c")
    assert [str(breach) for breach in breaches] == [
        "line 1: a: tags (!) are not allowed",
        "line 2: b: tags (!) are not allowed",
    ]
    assert isinstance(tree.entries["a"].value, Refused)


@pytest.mark.parametrize(
    "text",
    ["p: *hunter2", "p: !hunter2 x", "p: &hunter2 x", "p: !hunter2!y x", "p: @hunter2", "p: %hunter2", "p: 'hunter2"],
)
def test_a_secret_in_the_wrong_place_is_never_repeated(text: str) -> None:
    try:
        said = " ".join(complaints(text))
    except ConfigError as error:
        said = str(error)
    assert said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c: is empty; start from config.example.yaml"),
        ("# only a remark\n", "c: is empty; start from config.example.yaml"),
        ("- a\n", "c: line 1: must be a mapping of options"),
        ("word", "c: line 1: must be a mapping of options"),
        ("a: 1\n---\nb: 2\n", "c: line 2: holds more than one document"),
        ("a: b: c\n", "c: line 1: is not valid YAML: mapping values are not allowed here"),
        ("a: 1\nb: \x00\n", "c: line 2: holds a character that YAML does not allow"),
    ],
)
def test_what_is_no_mapping_is_refused(text: str, message: str) -> None:
    assert refusal(text) == message


def test_the_number_of_breaches_is_bounded() -> None:
    with pytest.raises(ConfigError) as caught:
        read_tree("a: 1\n" * 5000, "c")
    assert len(caught.value.breaches) == 201


@given(st.text(alphabet=st.sampled_from("ab:-,[]{}&*!|>'\"#%@? \n\t\\0é\x00"), max_size=200))
def test_any_text_is_a_tree_or_a_config_error(text: str) -> None:
    tree, breaches = None, None
    try:
        tree, breaches = read_tree(text, "c")
    except ConfigError as error:
        breaches = error.breaches
        message = str(error)
    assert isinstance(tree, Mapping) if tree is not None else (breaches and message.startswith("c: "))


@pytest.mark.fault("P28")
def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as stream:
        stream.truncate(100 * 1024 * 1024)
    with pytest.raises(ConfigError, match=f"is larger than {MAX_BYTES} bytes"):
        read_file(path)


def test_a_text_over_the_limit_is_refused() -> None:
    assert refusal("#" * (MAX_BYTES + 1)) == f"c: is larger than {MAX_BYTES} bytes"


def test_a_missing_file_names_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match="cannot be opened: No such file or directory; name the file with --config or MAILCANARY_CONFIG",
    ):
        read_file(tmp_path / "none.yaml")


def test_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match=r"is not a regular file"):
            read_file(path)


def test_a_symlink_to_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("a: 1\n")
    (tmp_path / "link.yaml").symlink_to("real.yaml")
    assert read_file(tmp_path / "link.yaml") == "a: 1\n"


def test_bytes_that_are_no_utf8_are_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(ConfigError, match="line 2: is not UTF-8 text"):
        read_file(tmp_path / "latin.yaml")


TEXTS = (
    "a: no\nb: 010\nc: 12:30:00\nd: 'x'\ne: \"y\\n\"\nf: |\n  one\n  two\ng: >-\n  three\n  four\n",
    "a: {b: [1, {c: d}], e: ''}\n# remark\nf:\n- g\n- h: [i, j]\n",
    "a: &x 1\nb: *x\nc: !!str 5\n? d\n: e\n",
    "a: {b: 1, b: 2}\na: 3\n",
    'a: \u00e4\u6f22\nb: "\\u263a"\n',
    "%YAML 1.1\n---\na: ~\nb: null\nc:\n...\n",
    "{a: 1,\n b: [x,\n  y]}\n",
)


@pytest.mark.parametrize("text", [*TEXTS, pytest.param("example", id="example")])
def test_libyaml_and_the_library_see_one_tree(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hasattr(yaml, "CSafeLoader")
    if text == "example":
        text = (Path(__file__).parents[2] / "config.example.yaml").read_text()
    quick, quick_breaches = read_tree(text, "c")
    monkeypatch.delattr(yaml, "CSafeLoader")
    slow, slow_breaches = read_tree(text, "c")
    assert (quick, quick_breaches) == (slow, slow_breaches)
    assert quick.entries

"""What the commands share: the common options, JSON, and colours that appear on a terminal only.

A command writes its result to stdout and everything about itself to stderr, so that a pipe carries results alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

DEFAULT_CONFIG = Path("/etc/mailcanary/config.yaml")
CONFIG_VARIABLE = "MAILCANARY_CONFIG"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def config_option(command: _Command) -> _Command:
    """Adds ``-c/--config``; the command gets it as ``config: Path``."""
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path),
        default=DEFAULT_CONFIG,
        envvar=CONFIG_VARIABLE,
        show_default=True,
        show_envvar=True,
        help="The configuration file.",
    )(command)


def json_option(command: _Command) -> _Command:
    """Adds ``--json``; the command gets it as ``as_json: bool``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(command)


def print_json(value: Any) -> None:
    """One JSON document on one line of stdout, ASCII only, so that no terminal or pipe can trip over it."""
    click.echo(json.dumps(value, ensure_ascii=True, separators=(", ", ": ")))


def say(text: str = "", *, bold: bool = False, colour: str | None = None) -> None:
    """A line of the result on stdout; styled on a terminal, plain in a pipe."""
    styled = (bold or colour is not None) and sys.stdout.isatty()
    click.echo(click.style(text, bold=bold, fg=colour) if styled else text)


def warn(text: str) -> None:
    """A line about the command itself, on stderr."""
    click.echo(click.style(text, fg="yellow") if sys.stderr.isatty() else text, err=True)


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines with aligned columns; the first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]

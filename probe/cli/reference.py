"""The command reference as Markdown, from the commands' help: ``python -m probe.cli.reference > docs/commands.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from probe.cli.main import main

_INTRO = """\
# Commands

Made from the program by `python -m probe.cli.reference`; do not edit. `mailcanary COMMAND --help` says the same.
"""
_WIDTH = 100


def reference() -> str:
    """The whole page: the help of every command, in the order of the list of commands."""
    parts = [_INTRO]
    settings = {**main.context_settings, "terminal_width": _WIDTH}
    for path, text in _helps(main, click.Context(main, info_name="mailcanary", **settings)):
        parts += [f"## {path}", "", "```text", text.rstrip(), "```", ""]
    return "\n".join(parts[:-1]) + "\n"


def _helps(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, str]]:
    """The name of ``command`` and its help, then those of its subcommands."""
    yield ctx.command_path, command.get_help(ctx)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            if inner is not None:
                yield from _helps(inner, click.Context(inner, info_name=name, parent=ctx, terminal_width=_WIDTH))


if __name__ == "__main__":
    sys.stdout.write(reference())

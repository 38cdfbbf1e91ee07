"""The command ``mailcanary``: finds the subcommand and turns every error into a message and an exit code.

    0  done                      2  configuration or usage
    1  no, or another failure    3  a server or the daemon cannot be reached
                                 4  the ledger is locked, damaged or newer

Subcommands are imported when they are called, not before: ``keygen`` on a small host needs neither the web server
nor the mail libraries.
"""

from __future__ import annotations

import importlib
from typing import IO, Any

import click

from probe import __version__
from probe.errors import MailCanaryError

# name -> (where the click command is, what the list of commands says of it)
COMMANDS = {
    "run": ("probe.cli.run:run", "Run the daemon in the foreground."),
    "check": ("probe.cli.check:check", "Validate the configuration; with --connect, try every server."),
    "keygen": ("probe.cli.keygen:keygen", "Make a signing key."),
    "trace": ("probe.cli.trace:trace", "Send one canary now and follow it live, like traceroute for mail."),
    "canaries": ("probe.cli.canaries:canaries", "List canaries from the ledger."),
    "explain": ("probe.cli.explain:explain", "Tell one canary's life, every move with its reason."),
    "incidents": ("probe.cli.incidents:incidents", "List incidents; mark one false."),
    "report": ("probe.cli.report:report", "Report one incident: what was lost, and what to queue again."),
    "plan": ("probe.cli.plan:plan", "What the present rates can see, and the rate that a target needs."),
    "pause": ("probe.cli.pause:pause", "Send nothing on a route for a while."),
    "resume": ("probe.cli.pause:resume", "End a pause."),
    "stop-sending": ("probe.cli.pause:stop_sending", "Stop every route at once."),
    "drill": ("probe.cli.drill:drill", "Prove that a fault pages, and that a page comes."),
    "demo": ("probe.cli.demo:demo", "Run everything on an embedded mail system, with faults to switch."),
}


class Failure(click.ClickException):
    """An error of this program on its way to stderr and the exit code."""

    def __init__(self, error: MailCanaryError) -> None:
        super().__init__(str(error))
        # click declares it for the class and reads it here
        self.exit_code = error.exit_code  # type: ignore[misc]

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"mailcanary: {self.message}" if "\n" not in self.message else self.message, file, err=True)


class LazyGroup(click.Group):
    """Imports a subcommand when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MailCanaryError as error:
            raise Failure(error) from error


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done; 1 no, or another failure; 2 configuration or usage; 3 cannot connect; 4 ledger.",
)
@click.version_option(__version__, prog_name="mailcanary")
def main() -> None:
    """Send canary mail through the real inbound path and prove how late it is and how much of it is lost.

    \b
    Examples:
      mailcanary demo                      try it, without a configuration
      mailcanary keygen /etc/mailcanary/k1 make a signing key
      mailcanary check --connect           validate, then try every server
      mailcanary run                       the daemon
    """


if __name__ == "__main__":
    main()

"""``mailcanary keygen``: a new signing key in a new file that only its owner can read."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

import click

from probe.cli.output import say
from probe.errors import MailCanaryError

KEY_BYTES = 32


@click.command(
    epilog="Example: mailcanary keygen /etc/mailcanary/k1.key",
    short_help="Make a signing key.",
)
@click.argument("file", type=click.Path(path_type=Path))
def keygen(file: Path) -> None:
    """Make a signing key: 32 random bytes as one line of hexadecimal in FILE, mode 0600.

    A file that is there is never overwritten: canaries in flight may need its key.
    """
    write_key(file)
    say(f"{file}: a new signing key, mode 0600")
    say()
    say("Name it in the configuration; the first key signs, all verify:")
    say()
    for line in snippet(file):
        say(line)


def write_key(file: Path) -> None:
    """Create ``file`` with a new key, durably. Raises MailCanaryError where it exists or cannot be made."""
    line = secrets.token_hex(KEY_BYTES) + "\n"
    try:
        # O_EXCL also refuses a symlink, wherever it points
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise MailCanaryError(f"{file} is there already and was left as it is; choose another name") from error
    except OSError as error:
        raise MailCanaryError(f"{file} cannot be made: {error.strerror}") from error
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            os.fchmod(stream.fileno(), 0o600)  # whatever the umask took away
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        file.unlink(missing_ok=True)  # half a key would look like a key
        raise MailCanaryError(f"{file} cannot be written: {error.strerror}") from error


def snippet(file: Path) -> list[str]:
    """The lines of ``keys`` that name this file, and the unit's line that hands it over as a credential."""
    name = re.sub(r"[^a-z0-9-]+", "-", file.stem.lower()).strip("-")[:32] or "k1"
    return [
        "  keys:",
        f"    - {{id: {name}, secret: {{file: {file.absolute()}}}}}",
        "",
        f"or, where systemd hands it over (LoadCredential={name}:{file.absolute()}):",
        "",
        "  keys:",
        f"    - {{id: {name}, secret: {{credential: {name}}}}}",
    ]

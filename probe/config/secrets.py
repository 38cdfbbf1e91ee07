"""Where a secret comes from. The configuration holds references only:

    {credential: NAME}   $CREDENTIALS_DIRECTORY/NAME, as systemd's LoadCredential= gives it (the best choice)
    {file: PATH}         a regular file that nobody but its owner may read
    {env: NAME}          an environment variable (the last choice: other processes of the user can read it)

A literal is refused, and no message ever repeats what was written where a secret belongs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from probe.config.files import FileError, read_regular
from probe.options import Secret

MAX_BYTES = 64 * 1024
MAX_SHOWN = 500  # characters of a path in a message
SOURCES = ("credential", "file", "env")
REFERENCE = "{credential: NAME}, {file: PATH} or {env: NAME}"
_CREDENTIAL = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,255}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class SecretError(Exception):
    """The reference cannot be resolved; the message names the cause and the next step, never the secret."""


class SecretStore:
    """Resolves references. ``resolve=False`` is for commands that need none: each secret is then empty."""

    def __init__(self, environ: Mapping[str, str], *, resolve: bool = True) -> None:
        self._environ = environ
        self.resolves = resolve

    def get(self, kind: str, name: str) -> Secret:
        """The secret that ``kind`` (one of SOURCES) and ``name`` refer to. Raises SecretError."""
        if not self.resolves:
            return Secret(b"", f"{kind}:{name}")
        value = {"credential": self._credential, "file": self._file, "env": self._env}[kind](name)
        value = value.removesuffix(b"\n")
        if not value:
            raise SecretError("the secret is empty")
        return Secret(value, f"{kind}:{name}")

    def _credential(self, name: str) -> bytes:
        if not _CREDENTIAL.fullmatch(name):
            raise SecretError("a credential's name is letters, digits, dots, dashes and underscores")
        directory = self._environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise SecretError(
                "there is no CREDENTIALS_DIRECTORY: start the program from its systemd unit with "
                f"LoadCredential={name}:…, or refer to the secret by {{file: …}}"
            )
        # systemd sets owner and mode itself, and an access list shows as group bits: no check of the mode here
        return _read(Path(directory) / name, private=False)

    def _file(self, name: str) -> bytes:
        path = Path(name)
        if not path.is_absolute():
            raise SecretError("the path of a secret must be absolute")
        return _read(path, private=True)

    def _env(self, name: str) -> bytes:
        if not _VARIABLE.fullmatch(name):
            raise SecretError("this is not the name of an environment variable")
        value = self._environ.get(name)
        if value is None:
            raise SecretError(f"the environment variable {name} is not set")
        data = os.fsencode(value)
        if len(data) > MAX_BYTES:
            raise SecretError(f"the secret is larger than {MAX_BYTES} bytes")
        return data


def _read(path: Path, *, private: bool) -> bytes:
    try:
        return read_regular(path, MAX_BYTES, private=private)
    except FileError as error:
        place = str(path)
        place = place if len(place) <= MAX_SHOWN else place[: MAX_SHOWN - 1] + "…"
        raise SecretError(_printable(f"{place} {error}")) from error


def _printable(text: str) -> str:
    """On one line, with escapes for what would act on a terminal: a path may hold any character."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)

"""The control socket: how commands reach the running daemon. One JSON object a line, each way.

A unix socket of mode 0600; the kernel says who connects (SO_PEERCRED), and only root and the daemon's own user are
answered. Requests are ``{"command": NAME, …}``; answers ``{"ok": true, …}`` or ``{"ok": false, "error": SENTENCE,
"exit": CODE}``.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from probe.errors import LedgerError, MailCanaryError, UnreachableError, UsageError

LONGEST_REQUEST = 64 * 1024
LONGEST_ANSWER = 8 * 1024 * 1024  # a traced canary with all that hostile servers said
MOST_CLIENTS = 16
PATIENCE = 30.0

Handler = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class ControlSocket:
    """Answers commands by the handlers it was given, by name."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._clients = 0

    async def start(self) -> None:
        """Listen. A socket left behind by a daemon that died is replaced; a live one is an error (exit 1)."""
        self._remove_stale()
        old_mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=LONGEST_REQUEST)
        except OSError as cause:
            raise MailCanaryError(
                f"control: cannot listen on {self._path}: {cause.strerror or cause}; name a socket in a directory that "
                "exists and is writable for the user that runs mailcanary"
            ) from cause
        finally:
            os.umask(old_mask)

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._path.unlink(missing_ok=True)

    def _remove_stale(self) -> None:
        try:
            if not stat.S_ISSOCK(self._path.stat().st_mode):
                raise MailCanaryError(f"control: {self._path} exists and is not a socket; it was left untouched")
        except FileNotFoundError:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
            trial.settimeout(1)
            try:
                trial.connect(str(self._path))
            except OSError:
                self._path.unlink(missing_ok=True)
                return
        raise MailCanaryError(f"control: another process listens on {self._path}; stop it, or name another socket")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            if self._clients > MOST_CLIENTS or not _is_friend(writer):
                return
            async with asyncio.timeout(PATIENCE):
                line = await reader.readline()
                if line:
                    answer = await self._answer(line)
                    writer.write(json.dumps(answer).encode() + b"\n")
                    await writer.drain()
        except (TimeoutError, OSError, ValueError):
            return  # a client that hangs, vanishes or sends a line past the limit gets no answer
        finally:
            self._clients -= 1
            writer.close()

    async def _answer(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"ok": False, "error": "the request is not JSON"}
        if not isinstance(request, dict) or not isinstance(request.get("command"), str):
            return {"ok": False, "error": 'the request is not an object with a "command"'}
        handler = self._handlers.get(request["command"])
        if handler is None:
            return {"ok": False, "error": f"unknown command; known are {', '.join(sorted(self._handlers))}"}
        try:
            return {"ok": True, **await handler(request)}
        except MailCanaryError as error:
            return {"ok": False, "error": str(error), "exit": error.exit_code}


def _is_friend(writer: asyncio.StreamWriter) -> bool:
    peer = writer.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (0, os.getuid())


async def ask(path: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Send one request to the daemon. Raises UnreachableError where none listens, MailCanaryError with its refusal."""
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_ANSWER)
            try:
                writer.write(json.dumps(request).encode() + b"\n")
                await writer.drain()
                line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError) as cause:
        raise UnreachableError(f"control: no daemon answers on {path}; is `mailcanary run` running?") from cause
    except ValueError as cause:
        raise MailCanaryError(f"control: what answers on {path} says too much in one line") from cause
    answer = json.loads(line or b'{"ok": false, "error": "the daemon closed the connection"}')
    if not answer.get("ok"):
        # Not UnreachableError (3), which means here that no daemon answers.
        refusal = {2: UsageError, 4: LedgerError}.get(answer.get("exit"), MailCanaryError)
        raise refusal(str(answer.get("error", "refused")))
    return dict(answer)

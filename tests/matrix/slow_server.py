"""A scripted SMTP server that takes its time, and virtual time for its sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from tests.jumping import JumpingLoop
from tests.senders.scripted_server import Act, ScriptedServer, Step

_LOOKS = 5  # of 2 ms each, at sockets on which something was just written, before time may jump


class SlowServer(ScriptedServer):
    """Waits ``delays`` (seconds by verb) before it answers; ``drip``: seconds between two bytes of an answer;
    ``flood``: verbs whose answer is repeated without end; a 421 is followed by a close. ``taken`` is told each message
    as soon as its final dot is there."""

    def __init__(
        self,
        replies: Mapping[str, Step] | None = None,
        *,
        delays: Mapping[str, float] | None = None,
        drip: float = 0.0,
        flood: tuple[str, ...] = (),
        taken: Callable[[bytes], object] = len,
    ) -> None:
        super().__init__(replies)
        self._delays = dict(delays or {})
        self._drip = drip
        self._flood = flood
        self._taken = taken
        self.written = 0
        loop = asyncio.get_running_loop()
        if isinstance(loop, JumpingLoop):
            loop.busy_while(self._just_wrote())

    def _just_wrote(self) -> Callable[[], bool]:
        """Bytes in the kernel are invisible to virtual time: some real looks at the sockets after each change."""
        seen, left = (0, 0, 0), 0

        def holds() -> bool:
            nonlocal seen, left
            now = (len(self.clear), self.connections, self.written)
            seen, left = (now, _LOOKS) if now != seen else (seen, left - 1)
            return left > 0

        return holds

    async def _do(self, verb: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        step: Step = self._replies.get(verb, [b"502 5.5.2 unknown\r\n"])[0]  # type: ignore[assignment]
        if verb == "DOT":
            self._taken(self.content.removesuffix(b".\r\n"))
        await asyncio.sleep(self._delays.get(verb, 0.0))
        if isinstance(step, Act):
            return await super()._do(verb, reader, writer)
        pieces = [bytes([byte]) for byte in step] if self._drip else [step]
        while pieces:
            for piece in pieces:
                writer.write(piece)
                self.written += len(piece)
                await writer.drain()
                await asyncio.sleep(self._drip)
            pieces = pieces if verb in self._flood else []
        return not step.startswith(b"421")

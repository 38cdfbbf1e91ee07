"""A TCP proxy on the loopback that can pass, stall, cut, refuse and delay: what lies between two programs.

Stalling is a black hole as a client sees one: connections stay open and nothing comes, and when the stall ends the
bytes held back arrive, as after a lost path. Not a router: a new connection's handshake still succeeds (the kernel
answers it), only one after ``refuse`` fails.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from enum import StrEnum

from tests.worlds.ports import LOOPBACK

_RESET = struct.pack("ii", 1, 0)
_CHUNK = 65536


class Direction(StrEnum):
    UP = "to the server"
    DOWN = "to the client"


Rewrite = Callable[[Direction, bytes], bytes]


class Proxy:
    """Listens on ``port`` and forwards to 127.0.0.1:``target``.

    ``bytes_up`` and ``bytes_down`` count what was forwarded, ``connections`` what was accepted; with ``record`` the
    forwarded bytes are kept in ``sent`` and ``received``. ``rewrite`` may change each chunk (strip STARTTLS, say).
    """

    host = LOOPBACK

    def __init__(self, target: int, *, rewrite: Rewrite | None = None, record: bool = False) -> None:
        self.target = target
        self.rewrite = rewrite
        self.record = record
        self.delay_seconds = 0.0
        self.bytes_up = self.bytes_down = self.connections = 0
        self.sent, self.received = bytearray(), bytearray()
        self._flow = threading.Event()
        self._flow.set()
        self._closed = False
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._cut: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.accept()

    # Faults.

    def accept(self) -> None:
        """Listen (again), on the same port."""
        if self._listener is None:
            self._listener = socket.create_server((LOOPBACK, self.port), backlog=128)
            self.port = self._listener.getsockname()[1]
            self._start(self._accept_loop, self._listener)

    def refuse(self) -> None:
        """Close the listener: new connections are refused; open ones live on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def stall(self) -> None:
        """Hold back every byte, both ways, until ``flow``."""
        self._flow.clear()

    def flow(self) -> None:
        """Let held bytes go."""
        self._flow.set()

    def cut(self) -> None:
        """Reset every open connection on both sides; new ones are welcome."""
        with self._lock:
            sockets = list(self._open)
            self._cut.update(sockets)
        for each in sockets:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                each.shutdown(socket.SHUT_RD)  # wakes the pump; the close that follows sends the reset

    @property
    def open_connections(self) -> int:
        with self._lock:
            return len(self._open) // 2

    def reset_counts(self) -> None:
        """Start counting at 0; what was recorded goes too."""
        self.bytes_up = self.bytes_down = self.connections = 0
        self.sent.clear()
        self.received.clear()

    def close(self) -> None:
        """End everything; returns when all threads have ended."""
        self._closed = True
        self.refuse()
        self._flow.set()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name=f"proxy {self.port}", daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept_loop(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection((LOOPBACK, self.target), timeout=10)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            server.settimeout(None)
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.update((client, server))
            self._start(self._connection, client, server)

    def _connection(self, client: socket.socket, server: socket.socket) -> None:
        upward = threading.Thread(target=self._pump, args=(client, server, Direction.UP), daemon=True)
        upward.start()
        self._pump(server, client, Direction.DOWN)
        upward.join()
        with self._lock:
            self._open.difference_update((client, server))
            self._cut.difference_update((client, server))
        client.close()
        server.close()

    def _pump(self, source: socket.socket, sink: socket.socket, direction: Direction) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if self.delay_seconds:
                    time.sleep(self.delay_seconds)
                if not self._may_flow(sink):
                    return
                if self.rewrite is not None:
                    data = self.rewrite(direction, data)
                sink.sendall(data)
                self._count(direction, data)
            if self._may_flow(sink):
                sink.shutdown(socket.SHUT_WR)

    def _may_flow(self, sink: socket.socket) -> bool:
        """Wait out a stall; False when the connection was cut or the proxy closed meanwhile."""
        while not self._flow.wait(0.02):
            if self._closed or sink in self._cut:
                return False
        return not self._closed and sink not in self._cut

    def _count(self, direction: Direction, data: bytes) -> None:
        with self._lock:
            if direction is Direction.UP:
                self.bytes_up += len(data)
            else:
                self.bytes_down += len(data)
            if self.record:
                (self.sent if direction is Direction.UP else self.received).extend(data)

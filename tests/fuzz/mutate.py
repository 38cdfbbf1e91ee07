"""Seeded mutations of real input: what transport, gateways and attackers do to bytes, at random."""

from __future__ import annotations

import base64
import quopri
from collections.abc import Callable, Sequence
from random import Random

LARGEST = 256 * 1024  # bytes of one input; the parsers' own caps lie below
_TELLING = (
    *(b"\r\n", b"\n", b"\r", b"\0", b"\r\n\r\n", b":", b";", b"@", b"<", b">", b'"', b"\\", b"(", b")", b"{", b"}"),
    *(b"[", b"]", b"%", b"=", b"=?utf-8?q?", b"?=", b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xe2\x80\xae"),
    *(b"-1", b"0", b"4294967295", b"4294967296", b"9" * 400, b"1e999", b"nan", b"{131073}\r\n", b"{99999999999}\r\n"),
    *(b"*", b"&", b"!!", b"- ", b"? ", b"|", b"\t", b"\xe2\x84\xaa", b"\xc4\xb1", b"--", b"--b--", b"+", b"/"),
)
Mutation = Callable[[bytes, Random, Sequence[bytes]], bytes]


def mutated(random: Random, corpus: Sequence[bytes]) -> bytes:
    """One input: a sample after one to six mutations, at most 256 KiB."""
    data = random.choice(corpus)
    for _ in range(random.randint(1, 6) if random.random() < 0.5 else 1):
        data = random.choice(_MUTATIONS)(data, random, corpus)[:LARGEST]
    return data


def _span(data: bytes, random: Random) -> tuple[int, int]:
    first = random.randint(0, len(data))
    return first, min(len(data), first + random.choice((1, 2, 4, 16, 64, 512)))


def _flip(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _each in range(random.choice((1, 1, 2, 8)) if changed else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _byte(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + bytes((random.randrange(256),)) + data[at + 1 :]


def _cut(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    return data[: random.randint(0, len(data))]


def _remove(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    first, last = _span(data, random)
    return data[:first] + data[last:]


def _repeat(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    first, last = _span(data, random)
    return data[:last] + data[first:last] * random.choice((1, 2, 10, 60)) + data[last:]


def _splice(data: bytes, random: Random, corpus: Sequence[bytes]) -> bytes:
    other = random.choice(corpus)
    return data[: random.randint(0, len(data))] + other[random.randint(0, len(other)) :]


def _put(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + random.choice(_TELLING) + data[at + random.choice((0, 0, 1, 4)) :]


def _lines(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """Two lines change places, as header fields do."""
    lines = data.splitlines(keepends=True)
    if len(lines) > 1:
        one, other = random.randrange(len(lines)), random.randrange(len(lines))
        lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def _again(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """A line comes again, somewhere else."""
    lines = data.splitlines(keepends=True)
    if lines:
        lines.insert(random.randint(0, len(lines)), random.choice(lines))
    return b"".join(lines)


def _huge(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """A very long line, seldom: it costs more than a thousand short inputs."""
    at = random.randint(0, len(data))
    size = random.choice((200, 1000, 3000)) if random.random() < 0.95 else 70_000
    return data[:at] + random.choice(_TELLING)[:1] * size + data[at:]


def _encoded(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """A part in another encoding of mail."""
    first, last = _span(data, random)
    part = data[first:last]
    ways = (base64.b64encode(part), quopri.encodestring(part), part.upper(), part.lower(), part.swapcase())
    text = part.decode("latin-1")
    more = (text.encode("utf-8"), text.encode("utf-16-le"), b"=?utf-8?b?" + base64.b64encode(part) + b"?=")
    return data[:first] + random.choice((*ways, *more)) + data[last:]


def _ends(data: bytes, random: Random, _: Sequence[bytes]) -> bytes:
    """Other line ends."""
    return data.replace(b"\r\n", b"\n").replace(b"\n", random.choice((b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n ")))


_MUTATIONS: tuple[Mutation, ...] = (
    *(_flip, _flip, _byte, _cut, _remove, _repeat, _splice, _splice),
    *(_put, _put, _lines, _again, _huge, _encoded, _ends),
)

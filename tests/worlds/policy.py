"""A real Postfix policy server (SMTPD_POLICY_README): the one knob for everything Postfix may do to a message.

Postfix asks it at every stage of every session, so a rule works from the next command on, with no reload. The
actions are those of access(5): greylisting, refusals, hold and silent discard are carried out by Postfix itself,
with its own replies and its own log lines. Not a mail filter: it sees the envelope, never the message.
"""

from __future__ import annotations

import socketserver
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tests.worlds.ports import LOOPBACK

_NO_OPINION = "DUNNO"


class Stage(StrEnum):
    """Where in the dialogue Postfix asks (``protocol_state``). CONNECT answers in place of the banner."""

    CONNECT = "CONNECT"
    EHLO = "EHLO"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    END_OF_MESSAGE = "END-OF-MESSAGE"


@dataclass(frozen=True, slots=True)
class Rule:
    """Do ``action`` (access(5)) at ``stage``; for ``recipient`` or ``sender`` only when named; ``times`` times, or
    for ever. The recipient is known from RCPT on, the sender from MAIL on.
    """

    stage: Stage
    action: str
    recipient: str | None = None
    sender: str | None = None
    times: int | None = None

    def matches(self, question: Mapping[str, str]) -> bool:
        state = question.get("protocol_state", "").replace("HELO", "EHLO").replace("EEHLO", "EHLO")
        return (
            state == self.stage
            and self.recipient in (None, question.get("recipient"))
            and self.sender in (None, question.get("sender"))
        )


@dataclass(frozen=True, slots=True)
class Greylist:
    """Defer the first ``tries`` tries of every (client, sender, recipient) triplet; None is every recipient."""

    recipient: str | None
    tries: int
    action: str = "DEFER_IF_PERMIT 4.2.0 Greylisted, see you later"


class PolicyServer:
    """Listens on ``port`` of the loopback from construction to ``close``; rules may change at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._greylists: list[Greylist] = []
        self._used: Counter[int] = Counter()
        self._tried: Counter[tuple[str, str, str]] = Counter()
        self.questions: list[dict[str, str]] = []
        self._server = _Server((LOOPBACK, 0), _Handler)
        self._server.policy = self
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="policy", daemon=True)
        self._thread.start()

    def add(self, rule: Rule) -> Rule:
        """The first rule that matches answers; later ones are not asked."""
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        with self._lock:
            self._rules = [each for each in self._rules if each is not rule]
            self._used.pop(id(rule), None)  # the next rule may get the same id

    def greylist(self, recipient: str | None = None, *, tries: int = 1) -> None:
        with self._lock:
            self._greylists.append(Greylist(recipient, tries))

    def reset(self) -> None:
        """Forget every rule, every greylist and every question."""
        with self._lock:
            self._rules.clear()
            self._greylists.clear()
            self._used.clear()
            self._tried.clear()
            self.questions.clear()

    def answer(self, question: dict[str, str]) -> str:
        """The action for one question of Postfix."""
        with self._lock:
            self.questions.append(question)
            for rule in self._rules:
                if rule.matches(question) and (rule.times is None or self._used[id(rule)] < rule.times):
                    self._used[id(rule)] += 1
                    return rule.action
            return self._greylisted(question)

    def _greylisted(self, question: Mapping[str, str]) -> str:
        if question.get("protocol_state") != Stage.RCPT:
            return _NO_OPINION
        triplet = (question.get("client_address", ""), question.get("sender", ""), question.get("recipient", ""))
        for greylist in self._greylists:
            if greylist.recipient in (None, triplet[2]):
                self._tried[triplet] += 1
                if self._tried[triplet] <= greylist.tries:
                    return greylist.action
        return _NO_OPINION

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128
    policy: PolicyServer


class _Handler(socketserver.StreamRequestHandler):
    """``name=value`` lines up to an empty one; the answer is ``action=...`` and an empty line. One connection carries
    many questions, for an smtpd process keeps it open.
    """

    server: _Server

    def handle(self) -> None:
        question: dict[str, str] = {}
        try:
            for raw in self.rfile:
                line = raw.decode("utf-8", "replace").rstrip("\n")
                if line:
                    name, _, value = line.partition("=")
                    question[name] = value
                    continue
                self.wfile.write(f"action={self.server.policy.answer(question)}\n\n".encode())
                question = {}
        except ConnectionError:
            return

"""Signs that a mail is somebody's answer: a reply, a forward, an auto-reply, a delivery report.

A canary carries none of them, so one sign is enough, however many carriers verify. What gateways do to canaries
(``[EXTERNAL]`` and ``EXTERNAL:`` before the subject, added X- headers, Precedence: bulk) is no sign.
Sources: RFC 3834 (auto-replies), RFC 3464 and 8098 (reports), RFC 5322 3.6.4 (In-Reply-To, References).
"""

from __future__ import annotations

import re

from probe.message.headers import Fields, decode_words, first

SIGN_FIELDS = (
    "in-reply-to",
    "references",
    "subject",
    "auto-submitted",
    "precedence",
    "content-type",
    "return-path",
    "x-autoreply",
    "x-autoreply-from",
    "x-autorespond",
    "x-autoresponder",
    "x-mail-autoreply",
    "x-failed-recipients",
)

# Words that mail programs and mailbox servers put before the subject of what they answer or pass on, in the languages
# of their users. A word of a gateway that only marks the mail (EXTERNAL, SPAM, WARNING) must not stand here.
_WORDS = (
    "re|aw|antw|antwort|sv|vs|vl|fw|fwd|wg|tr|rv|rif|res|enc|odp|pd|ynt|ilt|atb|trs|r|i|ref|doorst|továbbítás|vá|"
    "na|ha|отв|ответ|пересл|回复|回覆|答复|转发|轉寄|返信|転送|답장|전달|"
    "auto|autoreply|auto-reply|auto reply|automatic reply|automatische antwort|automatisch antwoord|"
    "réponse automatique|respuesta automática|risposta automatica|resposta automática|autosvar|"
    "out of office|out of office autoreply|read|not read|gelesen|ungelesen gelöscht|lu|non lu|leído|letto|"
    "undeliverable|undelivered|unzustellbar|delivered|delivery delayed|delivery failure"
)
_ANSWERED = re.compile(rf"(?:{_WORDS})\s?(?:[\[(]\d{{1,3}}[\])])?\s?[:\uff1a]", re.IGNORECASE)
_MARK = re.compile(r"\s*(?:\[[^\[\]]{0,60}\]|\{[^{}]{0,60}\}|\([^()]{0,60}\)|\*{1,10}[^*]{0,60}\*{1,10})\s*")
_MARKS_MOST = 8


def sign_of_answer(fields: Fields) -> str | None:
    """Why this mail is an answer, as the end of a sentence ("it has ..."), or None. Looks at ``SIGN_FIELDS``."""
    for name, words in (("in-reply-to", "In-Reply-To"), ("references", "References")):
        if any(fields.get(name, ())):
            return f"it has {words}"
    if _answering_subject(first(fields, "subject")):
        return "its subject is that of a reply, a forward or an automatic answer"
    return _sign_of_machine(fields)


def _sign_of_machine(fields: Fields) -> str | None:
    submitted = first(fields, "auto-submitted").lower()
    if submitted.startswith(("auto-replied", "auto-notified")):
        return "its Auto-Submitted says that a machine answers"
    for name in ("x-autoreply", "x-autoreply-from", "x-autorespond", "x-autoresponder", "x-mail-autoreply"):
        if first(fields, name).lower() not in ("", "no", "false"):
            return "it is marked as an automatic reply"
    if first(fields, "precedence").lower() == "auto_reply":
        return "its Precedence is auto_reply"
    kind = first(fields, "content-type").lower()
    if kind.startswith("multipart/report") or "report-type" in kind:
        return "it is a delivery or disposition report"
    if any(fields.get("x-failed-recipients", ())):
        return "it names failed recipients"
    if re.fullmatch(r"<\s*>", first(fields, "return-path")) is not None:
        return "its envelope sender is empty"
    return None


def _answering_subject(value: str) -> bool:
    subject = decode_words(value[:4096])[:1000].lstrip()
    for _ in range(_MARKS_MOST):
        if _ANSWERED.match(subject):
            return True
        mark = _MARK.match(subject)
        if mark is None:
            return False
        subject = subject[mark.end() :]
    return False

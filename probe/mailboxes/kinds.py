"""The kinds of mailbox there are: the modules of this folder that set ``KIND``, and the entry points
``mailcanary.mailboxes``.
"""

from __future__ import annotations

from probe.kinds import Kinds

_KINDS = Kinds("probe.mailboxes", "mailcanary.mailboxes")

names = _KINDS.names
kind = _KINDS.kind

"""The kinds of sender: the modules of this folder that set ``KIND``, and the entry points ``mailcanary.senders``."""

from __future__ import annotations

from probe.kinds import Kinds

_KINDS = Kinds("probe.senders", "mailcanary.senders")

names = _KINDS.names
kind = _KINDS.kind

"""The rarer work on an IMAP account: a look into every folder, and the removal of our own old canaries.

Mail that is not ours is never touched: looks are by EXAMINE, removal by UID EXPUNGE (UIDPLUS, RFC 4315) or MOVE
(RFC 6851) of named messages. A server with neither keeps them; a bare EXPUNGE would take other people's
``\\Deleted`` mail with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from probe.errors import MailboxError
from probe.mailboxes.base import Found, Removal
from probe.mailboxes.imap_search import identity_criteria
from probe.mailboxes.imap_session import NOT_SELECTABLE, Refused, Session

SWEEP_FOLDERS = 200
SWEEP_MESSAGES = 64


def sweep(session: Session, tokens: Sequence[str], skipped: frozenset[str]) -> tuple[Found, ...]:
    """Every message that carries one of the identities, in every selectable folder but ``skipped`` (server names).

    Raises MailboxError where a limit or a refusal left a folder unseen: then nothing found proves nothing.
    """
    criteria = list(identity_criteria(tokens))
    if not criteria:
        return ()
    names = [each.name for each in session.folders() if each.selectable and each.name not in skipped]
    if len(names) > SWEEP_FOLDERS:
        raise MailboxError("limit", f"{len(names)} folders to search; the limit is {SWEEP_FOLDERS}")
    found: list[Found] = []
    for name in names:
        try:
            epoch = session.select(name, examine=True).epoch
        except Refused as refused:
            if refused.code in NOT_SELECTABLE:
                continue
            raise MailboxError("folder", f"could not look everywhere: {refused}") from refused
        uids = sorted({uid for each in criteria for uid in session.search(each)})
        if len(found) + len(uids) > SWEEP_MESSAGES:
            raise MailboxError("limit", f"more than {SWEEP_MESSAGES} messages carry the identities")
        messages, _ = session.look(uids)
        found.extend(Found(name, epoch, message) for message in messages)
    return tuple(found)


def remove(session: Session, name: str, epoch: int, uids: Sequence[int], target: str | None) -> Removal:
    """Delete the messages, or move them to ``target``; the uids that are not there any more."""
    if not uids:
        return Removal(frozenset())
    try:
        selected = session.enter(name, examine=False)
    except Refused as refused:
        return Removal(frozenset(), str(refused))
    if selected.epoch != epoch:
        return Removal(frozenset(), f"{name}: UIDVALIDITY changed from {epoch} to {selected.epoch}")
    if selected.read_only:
        return Removal(frozenset(), f"{name}: the folder is read-only")
    # A server applies commands to the folder as it last showed it to us; NOOP brings that up to date.
    session.noop()
    problem = _delete(session, uids) if target is None else _move(session, uids, target)
    left = session.existing(uids)
    if left and not problem:
        problem = f"{name}: the server kept {len(left)} of {len(uids)} messages"
    return Removal(frozenset(uids) - left, problem)


def _delete(session: Session, uids: Sequence[int]) -> str:
    if "UIDPLUS" not in session.capabilities:
        return "the server lacks UIDPLUS, so single messages cannot be expunged"
    return session.change("STORE", uids, "+FLAGS.SILENT", r"(\Deleted)") or session.change("EXPUNGE", uids)


def _move(session: Session, uids: Sequence[int], target: str) -> str:
    folder = session.quoted(target)
    if "MOVE" in session.capabilities:
        return session.change("MOVE", uids, folder)
    if "UIDPLUS" not in session.capabilities:
        return "the server lacks MOVE and UIDPLUS, so single messages cannot be moved"
    return session.change("COPY", uids, folder) or _delete(session, uids)

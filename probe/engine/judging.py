"""Judging: overdue, lost, unknown. Only after complete reads that began after the deadline, never while blind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from probe.canary import observations as seen
from probe.canary.coverage import Doubt, Proof, prove_absence
from probe.canary.record import Canary, State
from probe.clock import Clock, Instant
from probe.engine.books import Books
from probe.engine.folders import FolderState
from probe.engine.reports import BounceReads
from probe.engine.waiting import Deadline, Waiting
from probe.errors import IllegalMove

NOT_YET = frozenset({Doubt.NO_READ, Doubt.CUT_SHORT, Doubt.BOUNCES_UNREAD})
MOST_SWEPT = 128  # canaries a sweep: the rest waits for the next one

Sweep = Callable[[Sequence[Canary]], Awaitable[None]]


@dataclass(slots=True)
class Judge:
    """The verdicts of one mailbox."""

    waiting: Waiting
    folders: Mapping[str, FolderState]
    books: Books
    clock: Clock
    exclusive: bool
    bounce_reads: BounceReads
    unseen: Callable[[], str]  # why the reads prove nothing, "" while they do (controlling.py)

    def covered_since(self) -> Instant | None:
        """Every folder that is there was read completely by reads begun at or after this instant."""
        looks = [state.last_look for state in self.folders.values() if not state.missing]
        if not looks or any(look is None for look in looks):
            return None
        return min((look for look in looks if look is not None), key=lambda look: look.wall)

    async def overdue(self) -> None:
        """Those that a complete read begun after ``overdue_at`` did not show."""
        covered = self.covered_since()
        if covered is None or self.unseen():
            return
        for canary_id in list(self.waiting.due[Deadline.OVERDUE]):
            canary = self.waiting.canaries.get(canary_id)
            if canary is None or covered.since(canary.overdue_at) <= timedelta(0):
                continue
            if canary.state is State.ACCEPTED:
                await self._observe(canary_id, seen.WentOverdue(self.clock.now()))
            self.waiting.due[Deadline.OVERDUE].discard(canary_id)

    def wants_read(self) -> bool:
        """Whether a fresh read of this mailbox could bring a verdict. Where one waits for the bounces in another
        mailbox only, that one is asked to be read."""
        for canary_id in self.waiting.due[Deadline.LOST]:
            canary = self.waiting.canaries.get(canary_id)
            if canary is None:
                continue
            over = canary_id in self.waiting.due[Deadline.WATCH]
            if over or not (self.unseen() or self.bounce_reads.ask(canary)):
                return True
        return False

    def ripe(self) -> list[Canary]:
        """Those whose deadline every folder's last fresh read came after, oldest first, as many as one sweep takes."""
        found = []
        for canary_id in self.waiting.due[Deadline.LOST]:
            canary = self.waiting.canaries.get(canary_id)
            if canary is not None and self._prove(canary).doubt not in NOT_YET:
                found.append(canary)
        return sorted(found, key=lambda canary: canary.sent.wall)[:MOST_SWEPT]

    async def verdicts(self, swept: Sequence[Canary]) -> None:
        """Judge those that were looked for everywhere and are still out."""
        for old in swept:
            canary = self.waiting.canaries.get(old.id)
            if canary is None:
                continue  # the sweep found it
            proof = self._prove(canary)
            now = self.clock.now()
            if proof.doubt in NOT_YET:
                continue
            if proof.doubt is None:
                await self._observe(canary.id, seen.ProvenAbsent(now, f"{proof.sentence}; no other folder has it"))
            else:
                await self._observe(canary.id, seen.AbsenceUnproven(now, proof.doubt.value, proof.sentence))

    def _prove(self, canary: Canary) -> Proof:
        if unseen := self.unseen():
            return Proof(Doubt.NO_READ, unseen)
        records = [state.record() for state in self.folders.values()]
        proof = prove_absence(canary.floors, canary.lost_at, records, exclusive=self.exclusive)
        return proof if proof.doubt is not None else self._readable(canary) or self._bounces_read(canary) or proof

    def _bounces_read(self, canary: Canary) -> Proof | None:
        unread = self.bounce_reads.unread(canary)
        return Proof(Doubt.BOUNCES_UNREAD, unread) if unread else None

    def _readable(self, canary: Canary) -> Proof | None:
        """A message that the server lists and would not show may be the canary; so may one of ours without a name."""
        for state in self.folders.values():
            floor = canary.floors.get(state.folder)
            hidden = [uid for uid in state.unreadable if floor is None or uid >= floor.position]
            unnamed = [uid for uid in hidden if uid in state.unnamed]
            if hidden and len(unnamed) < len(hidden):
                first = min(set(hidden) - set(unnamed))
                return Proof(Doubt.UNREADABLE, f"{state.folder}: message {first} is there and could not be looked at")
            if unnamed:
                said = "is from a route's own address, and nothing in it names a canary"
                return Proof(Doubt.UNCORRELATABLE, f"{state.folder}: message {min(unnamed)} {said}")
        return None

    async def give_up(self) -> None:
        """Those whose watch is over although the mailbox is read: the reads could never prove anything of them."""
        self.waiting.pass_deadlines(self.clock.now())
        for canary_id in list(self.waiting.due[Deadline.WATCH]):
            canary = self.waiting.canaries.get(canary_id)
            if canary is None:
                continue
            proof = self._prove(canary)
            covered = self.covered_since()
            if proof.doubt in NOT_YET and covered is not None and covered.since(canary.watched_until) > timedelta(0):
                await self._observe(
                    canary_id, seen.AbsenceUnproven(self.clock.now(), proof.doubt.value, proof.sentence)
                )

    async def end_watches(self, why: str) -> None:
        """While blind: those whose watch is over are unknown."""
        self.waiting.pass_deadlines(self.clock.now())
        for canary_id in list(self.waiting.due[Deadline.WATCH]):
            if canary_id in self.waiting.canaries:
                sentence = f"watch_for has passed and the mailbox could not be read since the deadline: {why}"
                await self._observe(canary_id, seen.WatchEnded(self.clock.now(), sentence))
            self.waiting.due[Deadline.WATCH].discard(canary_id)

    async def _observe(self, canary_id: str, observation: seen.Observation) -> None:
        try:
            await self.books.observe(canary_id, observation)
        except IllegalMove:
            # It moved on between the look and the hold: what it is now was judged by whoever moved it.
            self.waiting.due[Deadline.LOST].discard(canary_id)

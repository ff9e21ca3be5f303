"""Who goes on after a round, and when no further round is worth its time.

1. Gross dominance after two rounds (`rounds.gross_losers`): needs no distribution.
2. At planned looks each candidate is compared with the leader inside rounds (`paired`). What is behind for sure is dropped. The error of 5 % is divided over the looks and the
   rivals (Bonferroni), so that the best one is dropped in at most 5 % of races, however many there are, and mostly by one that is hardly worse.
3. What is behind by less than epsilon is a tie, and may still win it by being leaner or simpler: that one goes on.
4. The race is over when one is left, or when all that are left are within epsilon of the leader with 95 % confidence; and the limits on latency are decided.

Candidates that cannot be picked (their agreement, a broken limit) are measured like the others, as another pick from the same run may allow them; but they drop none that can.
The original is never dropped. It rests once it is behind and every comparison with it is decided.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from edgeopt.domain.goal import Goal
from edgeopt.domain.pick import Summary
from edgeopt.domain.race import Decision
from edgeopt.domain.run import Block, Candidate, Run
from edgeopt.select.blocks import ORIGINAL, block_ms, counts, original_of
from edgeopt.select.limits import broken_by_nature, is_too_slow, latency_doubts
from edgeopt.select.paired import Paired, differences, paired_interval
from edgeopt.select.ranking import Weighted, best_of
from edgeopt.select.rounds import gross_losers
from edgeopt.select.statistics import hodges_lehmann
from edgeopt.select.summarise import summarise
from edgeopt.select.wording import BYTES_PER_MB, number, percent

LOOKS = (3, 4, 6, 8, 12, 16, 24)
"""Rounds after which candidates are compared: dense where most are lost, rare where a round says little more."""
ALPHA = 0.05
FEWEST_FOR_MEMORY = 2
"""The peak of a process hardly differs between starts."""

Levels = Mapping[int, float]
"""Round -> logarithm of the block's level."""


class Race:
    """Decides after every round. What it answers follows from its arguments; it only remembers the levels of blocks that it has seen."""

    def __init__(self, run: Run, goal: Goal) -> None:
        """Prepare.

        Args:
            run: all but the blocks: candidates, variants, what they answered.
            goal: what they race for.
        """
        self._run = run
        self._goal = goal
        self._plan = run.plan
        self._candidates = {candidate.id: candidate for candidate in run.candidates}
        self._facts = {summary.candidate: summary for summary in summarise(run)}
        self._hopeless = {name for name, s in self._facts.items() if broken_by_nature(run, goal, s)}
        self._beaten: set[str] = set()
        self._seen: list[Block] = []
        self._levels: dict[str, dict[int, float]] = {name: {} for name in self._facts}
        self._peaks: dict[str, list[int]] = {name: [] for name in self._facts}

    def after_round(self, blocks: Sequence[Block], alive: Sequence[Candidate]) -> Decision:
        """Decide who goes on.

        Args:
            blocks: all so far, in the order in which they ran.
            alive: the candidates that are still measured.
        """
        self._learn(blocks[len(self._seen) :])
        done = 1 + max((block.round for block in blocks), default=-1)
        names = [candidate.id for candidate in alive]
        is_look = done in LOOKS or done == self._plan.most_rounds
        if is_look:
            self._hopeless |= {name for name in names if self._breaks_a_limit(name)}
        lost = self._gross(names)
        if self._plan.rounds is None:
            lost |= self._never_clean(names, done) | self._heavier(names)
            lost |= self._behind([name for name in names if name not in lost]) if is_look else {}
        originals = {name for name in names if self._candidates[name].variant == ORIGINAL}
        self._beaten |= lost.keys() & originals
        dropped = {name: why for name, why in lost.items() if name not in originals}
        left = [name for name in names if name not in dropped]
        if self._plan.rounds is not None:
            over = f"the {done} rounds that were asked for are done" if done >= self._plan.rounds else None
            return Decision(dropped=dropped, stopped=over)
        return Decision(dropped=dropped, resting=self._resting(left), stopped=self._over(left, done, is_look=is_look))

    def _learn(self, fresh: Sequence[Block]) -> None:
        for block in fresh:
            self._seen.append(block)
            if counts(self._run, block) and block.candidate in self._levels:
                self._levels[block.candidate][block.round] = math.log(block_ms(block))
                self._peaks[block.candidate] += [] if block.peak_rss_bytes is None else [block.peak_rss_bytes]

    def _breaks_a_limit(self, name: str) -> bool:
        limit, peaks = self._goal.max_memory_mb, self._peaks[name]
        is_large = limit is not None and max(peaks, default=0) > limit * BYTES_PER_MB
        return is_large or (self._has_latency_limits() and is_too_slow(*self._so_far(name)))

    def _has_latency_limits(self) -> bool:
        return self._goal.max_latency_p50_ms is not None or self._goal.max_latency_p90_ms is not None

    def _so_far(self, name: str) -> tuple[Run, Goal, Summary]:
        run = msgspec.structs.replace(self._run, blocks=tuple(self._seen), candidates=(self._candidates[name],))
        return run, self._goal, summarise(run)[0]

    def _rivals(self, name: str, names: Iterable[str]) -> list[str]:
        """Who may drop it: all, or only those that may be picked when it may be."""
        return [other for other in names if name in self._hopeless or other not in self._hopeless]

    def _gross(self, names: Sequence[str]) -> dict[str, str]:
        if self._goal.asks_for_energy or not (self._goal.weights or self._goal.objective == "latency"):
            return {}
        lost: dict[str, str] = {}
        for name in names:
            levels = {other: self._costs(other) for other in {*self._rivals(name, names), name}}
            lost |= gross_losers(levels, self._plan.drop_ratio, [name])
        return lost

    def _never_clean(self, names: Sequence[str], done: int) -> dict[str, str]:
        if done < self._plan.min_rounds:
            return {}
        sentence = f"none of its blocks in {done} rounds was undisturbed, so it was not measured further"
        return {name: sentence for name in names if not self._levels[name]}

    def _heavier(self, names: Sequence[str]) -> dict[str, str]:
        """Memory and size come first in the goal: who is larger than one that may be picked cannot win, however fast."""
        if self._goal.weights or self._goal.objective not in ("memory", "size"):
            return {}
        lost = {}
        for name in names:
            for other in self._rivals(name, names):
                if self._is_heavier(name, other):
                    lost[name] = (
                        f"its {self._word()} is larger than that of {other} by more than what counts as a tie, so it was not measured further"
                    )
                    break
        return lost

    def _word(self) -> str:
        return "peak memory" if self._goal.objective == "memory" else "size"

    def _is_heavier(self, name: str, other: str) -> bool:
        if min(len(self._levels[name]), len(self._levels[other])) < FEWEST_FOR_MEMORY:
            return False
        if self._goal.objective == "size":
            return self._facts[name].size_bytes > self._facts[other].size_bytes
        mine, theirs = self._peaks[name], self._peaks[other]
        return bool(mine and theirs) and min(mine) > max(theirs) * (1 + self._plan.epsilon)

    def _behind(self, names: Sequence[str]) -> dict[str, str]:
        """Compare each with its leader at this look."""
        if self._goal.asks_for_energy:
            return {}
        alpha = ALPHA / (len(LOOKS) * max(len(self._candidates) - 1, 1))
        lost = {}
        for name in names:
            leader = self._leader(self._rivals(name, names))
            found = self._against(name, leader, alpha)
            if leader is not None and found is not None and found.low > 0 and self._cannot_win(name, leader, found):
                times = f"{number(math.exp(found.middle))} [{number(math.exp(found.low))} .. {number(math.exp(found.high))}]"
                lost[name] = (
                    f"over {found.rounds} rounds it took {times} times {self._what()} the leader ({leader}), so it was not measured further"
                )
        return lost

    def _what(self) -> str:
        return "what the goal weighs of" if self._goal.weights else "as long as"

    def _leader(self, names: Iterable[str]) -> str | None:
        known = {name: costs for name in names if (costs := self._costs(name))}
        return min(known, key=lambda name: (hodges_lehmann(list(known[name].values()))[0], name), default=None)

    def _against(self, name: str, other: str | None, alpha: float) -> Paired | None:
        if other is None or other == name:
            return None
        return paired_interval(differences(self._costs(name), self._costs(other)), alpha)

    def _costs(self, name: str) -> Levels:
        """Round -> logarithm of what the race is about: the latency, or all that has a weight."""
        if not self._goal.weights:
            return self._levels[name]
        weighted = Weighted(self._goal.weights)
        share = weighted.shares.get("latency", 0.0)
        fixed = weighted(self._as_if(name, 1.0))
        if not math.isfinite(fixed):
            return {}
        return {number: math.log(fixed) + share * level for number, level in self._levels[name].items()}

    def _cannot_win(self, name: str, leader: str, found: Paired) -> bool:
        """A tie with the leader may still be won by being leaner or simpler."""
        beyond = found.middle > math.log1p(self._plan.epsilon)
        if beyond and (self._goal.weights or self._goal.objective == "latency"):
            return True
        return not self._wins_ties(name, leader, math.exp(max(found.middle, 0.0)))

    def _wins_ties(self, name: str, leader: str, slower: float = 1.0) -> bool:
        """Would it be picked over the leader, at so many times its latency, by what else counts?"""
        if self._goal.weights:
            return True
        tied = [self._as_if(leader, 1.0), self._as_if(name, slower * (1 + 1e-9))]
        return best_of(tied, self._goal).candidate == name

    def _as_if(self, name: str, p50_ms: float) -> Summary:
        """The candidate with what is known of it by now, at a made-up latency that leaves the decision to everything else."""
        peak = max(self._peaks[name], default=None)
        return msgspec.structs.replace(self._facts[name], p50_ms=p50_ms, peak_memory_bytes=peak)

    def _resting(self, left: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in left if name in self._beaten and not self._is_asked_for(name, left))

    def _is_asked_for(self, original: str, left: Sequence[str]) -> bool:
        """Is a comparison with this original still open?"""
        for name in set(left) - self._beaten:
            mine = original_of(self._run, self._candidates[name])
            if mine is None or mine.id != original:
                continue
            found = self._against(name, original, ALPHA / 2)
            if found is None or found.rounds < self._plan.min_rounds or found.low <= 0 <= found.high:
                return True
        return False

    def _over(self, left: Sequence[str], done: int, *, is_look: bool) -> str | None:
        most = self._plan.most_rounds
        contenders = [name for name in left if name not in self._beaten]
        contenders = [name for name in contenders if name not in self._hopeless] or contenders
        if not contenders:
            return "no candidate is left"
        leader = self._leader(contenders)
        if leader is not None and self._is_decided(contenders, leader, left, is_look=is_look):
            if len(contenders) == 1:
                return f"{leader} is ahead of all others"
            return (
                f"none of the {len(contenders)} that are left beats {leader} by more than {percent(self._plan.epsilon)}"
            )
        if done >= most:
            return f"{most} rounds are the most that are run; {', '.join(contenders)} could not be told apart or from the limits"
        return None

    def _is_decided(self, contenders: Sequence[str], leader: str, left: Sequence[str], *, is_look: bool) -> bool:
        fewest = min(len(self._levels[name]) for name in contenders)
        if fewest < self._plan.min_rounds or self._originals_asked_for(left, contenders):
            return False
        if len(contenders) > 1 and not (is_look and self._all_tied(contenders, leader)):
            return False
        return not (self._has_latency_limits() and any(latency_doubts(*self._so_far(name)) for name in contenders))

    def _originals_asked_for(self, left: Sequence[str], contenders: Sequence[str]) -> bool:
        """Is a beaten original not yet compared with one that may win?"""
        return any(self._is_asked_for(name, contenders) for name in left if name in self._beaten)

    def _all_tied(self, contenders: Sequence[str], leader: str) -> bool:
        if self._goal.asks_for_energy:
            return True
        return all(self._is_tied(name, leader) for name in contenders if name != leader)

    def _is_tied(self, name: str, leader: str) -> bool:
        """Is it equivalent to the leader: not faster by epsilon, and not slower by it if it may win a tie? Two one-sided tests, each at 5 % (Schuirmann 1987)."""
        found = self._against(name, leader, ALPHA)
        reach = math.log1p(self._plan.epsilon)
        if found is None or found.low <= -reach:
            return False
        return found.high < reach or not self._wins_ties(name, leader)

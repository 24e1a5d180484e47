"""From a sampler's values to a trial worth a row: fitting, within the budgets, not seen before.

Refusals cost no training. Those for a budget (or for a network that does not fit) are taught to
the sampler through its mirror; repeats are dropped. They are counted by reason and the last
hundred are kept. After :data:`PATIENCE` refusals in a row most proposals come from elsewhere:
mutations of accepted architectures and random ones, so that a sampler that repeats itself does
not end a search.

Left out: the result cache and who runs what (:mod:`nas.search.driver`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.architecture import Architecture
from nas.cost import COSTS, LATENCY, SEARCHED_COSTS, count_cost, format_cost
from nas.latency import LatencyTable
from nas.records import Proposal, Rejections
from nas.search.samplers import Mirror
from nas.space import SearchSpace, smallest, smallest_by
from nas.task import Task, proxy

PATIENCE = 8
LAST = 100

REPEAT, MISFIT = "repeat", "does not fit"
"""Reasons of a refusal beside the names of the costs."""


@dataclass(frozen=True)
class Refusal:
    """Why an architecture is not worth a trial; ``violation`` is in decades over the budget."""

    kind: str
    reason: str
    costs: Mapping[str, float] | None = None
    violation: float = 1.0


@dataclass(frozen=True)
class Judged:
    """An architecture that may be trained."""

    costs: dict[str, float]
    proxy_fingerprint: str


class Judge:
    """Counts and checks architectures for one task; pure.

    ``is_proxied`` is False where the caller's own function gets the whole architecture.
    ``latency`` is the table of a search that minimises or bounds latency.
    """

    def __init__(
        self,
        task: Task,
        budgets: Mapping[str, float],
        *,
        is_proxied: bool = True,
        latency: LatencyTable | None = None,
    ) -> None:
        self._task, self._budgets, self._is_proxied = task, dict(budgets), is_proxied
        self._latency = latency

    def judge(self, architecture: Architecture) -> Judged | Refusal:
        """The costs at the target and the proxy's fingerprint, or why it is refused."""
        costs = self.count(architecture)
        if isinstance(costs, Refusal):
            return costs
        if not self._is_proxied:
            return Judged(costs, architecture.fingerprint)
        try:
            return Judged(costs, proxy(architecture, self._task).fingerprint)
        except ValueError as error:
            return Refusal(MISFIT, str(error), costs)

    def count(self, architecture: Architecture) -> dict[str, float] | Refusal:
        """The costs at the target, or the refusal for what is known without making the proxy."""
        try:
            costs = self.costs(architecture)
        except ValueError as error:
            return Refusal(MISFIT, str(error))
        over = {name: costs[name] / limit for name, limit in self._budgets.items()}
        worst = max(over, key=over.__getitem__, default=None)
        if worst is not None and over[worst] > 1:
            limit = self._budgets[worst]
            shown = format_cost(worst, costs[worst])
            reason = f"{worst} {shown} over the budget {format_cost(worst, limit)}"
            return Refusal(worst, reason, costs, math.log10(over[worst]))
        return costs

    def costs(self, architecture: Architecture) -> dict[str, float]:
        """The costs at the target: counted ones, and the latency where there is a table.

        Raises:
            ValueError: the architecture does not fit the target's image.
        """
        target = self._task.target
        cost = count_cost(architecture, target.image, target.classes)
        costs: dict[str, float] = {
            name: int(getattr(cost, name)) for name in (*COSTS, "peak_activation_bytes")
        }
        if self._latency is not None:
            costs[LATENCY] = self._latency.predict_ms(architecture)
        return costs

    def smallest(self, space: SearchSpace, cost_name: str) -> tuple[Architecture, float]:
        """The smallest architecture found in the space by one cost, and that cost."""
        target = self._task.target
        if cost_name != LATENCY:
            return smallest(space, target.image, target.classes, cost_name)
        assert self._latency is not None, "who bounds latency has a table"
        return smallest_by(space, target.image, self._latency.predict_ms)


@dataclass(frozen=True)
class Accepted:
    """A proposal worth a row, and its handle in the mirror."""

    proposal: Proposal
    handle: int


class Proposals:
    """Proposes one trial after another; each call of :meth:`attempt` is one try."""

    def __init__(
        self,
        space: SearchSpace,
        judge: Judge,
        mirror: Mirror,
        *,
        sampler: str,
        seed: int,
        rejections: Rejections,
        given: Sequence[tuple[str, Architecture]] = (),
    ) -> None:
        self._space, self._judge, self._mirror = space, judge, mirror
        self._sampler, self._seed = sampler, seed
        self._given = deque(given)
        self._accepted: list[Architecture] = []
        self._seen: set[str] = set()
        self._refused: set[str] = set()
        self._counts = dict(rejections.counts)
        self._last: deque[dict[str, Any]] = deque(rejections.last, maxlen=LAST)
        self.in_a_row = 0

    @property
    def rejections(self) -> Rejections:
        """All refusals so far, those before a resume included."""
        return Rejections(dict(self._counts), tuple(self._last))

    @property
    def is_exhausted(self) -> bool:
        """Whether every architecture of the space was trained or refused."""
        return not self._given and len(self._seen) + len(self._refused) >= self._space.size

    def why_none(self) -> str:
        """Why so many proposals in a row were refused, in one line for people."""
        last = self._last[-1]
        text = f"{self.in_a_row:,} proposals in a row were rejected; the last: {last['reason']}"
        kind = str(last["kind"])
        if kind not in SEARCHED_COSTS:
            return text
        _, least = self._judge.smallest(self._space, kind)
        return f"{text}; the smallest {kind} found in the space: {format_cost(kind, least)}"

    def restore(self, proposal: Proposal) -> int:
        """Enter a stored trial; its handle in the mirror."""
        self._note(proposal.architecture)
        return self._mirror.add(proposal.values, proposal.sampler_state)

    def learn(
        self,
        handle: int,
        error: float | None,
        costs: Mapping[str, float],
        curve: Sequence[Sequence[float]] = (),
    ) -> None:
        """Teach the sampler a trial's result; no error where it failed or was stopped.

        ``curve`` has [epoch, error] at each rung that it passed.
        """
        self._mirror.learn(handle, error, costs, curve)

    def forget(self, handle: int) -> None:
        """Teach nothing of a trial: it says nothing about its network."""
        self._mirror.drop(handle)

    def reteach(self) -> None:
        """After all stored trials: teach the mirror the refusals that were kept over a resume.

        Of the networks to try first, those that have a row are done.
        """
        self.leave_out_seen()
        for row in self._last:
            if row["kind"] != REPEAT and row["values"] is not None:
                values = dict(zip(self._space.parameters, row["values"], strict=True))
                handle = self._mirror.add(values, {})
                refusal = self._judge.judge(self._space.decode(values))
                assert isinstance(refusal, Refusal)
                self._mirror.refuse(handle, refusal.costs, refusal.violation)

    def leave_out_seen(self) -> None:
        """Of the networks to try first, leave out those that have a row by now."""
        if self._seen:
            left = [item for item in self._given if item[1].fingerprint not in self._seen]
            self._given = deque(left)

    def withdraw(self, accepted: Accepted) -> None:
        """Take a proposal back that no row was written for."""
        architecture = accepted.proposal.architecture
        self._seen.discard(architecture.fingerprint)
        self._accepted.remove(architecture)
        self._mirror.drop(accepted.handle)

    def replace_rejections(self, rejections: Rejections) -> None:
        """Take the counts and the last refusals of all drivers of a run for this one's own."""
        self._counts = dict(rejections.counts)
        self._last = deque(rejections.last, maxlen=LAST)

    def attempt(self, number: int) -> Accepted | None:
        """Propose trial ``number`` once; None where the proposal is refused.

        The next call for the same number tries another proposal.
        """
        handle, values, origin = self._propose(number)
        architecture = self._space.decode(values)
        judged = self._check(architecture)
        if isinstance(judged, Refusal):
            self._refuse(number, handle, values, judged)
            if judged.kind != REPEAT:
                self._refused.add(architecture.fingerprint)
            return None
        self._note(architecture)
        self.in_a_row = 0
        expected = self._mirror.expected_share if origin.startswith("sampler:") else None
        proposal = Proposal(
            architecture=architecture,
            values=values,
            costs=judged.costs,
            proxy_fingerprint=judged.proxy_fingerprint,
            seed=self._seed,
            origin=origin,
            sampler_state=self._mirror.state_of(handle),
            expected_share=expected,
        )
        return Accepted(proposal, handle)

    def _propose(self, number: int) -> tuple[int, dict[str, Any], str]:
        if self._given:
            origin, architecture = self._given.popleft()
            return *self._entered(architecture), origin
        if self.in_a_row >= PATIENCE and self.in_a_row % 10:
            generator = np.random.default_rng([self._seed, number, self.in_a_row])
            if self.in_a_row % 2 and self._accepted:
                parent = self._accepted[int(generator.integers(len(self._accepted)))]
                mutant = self._space.mutate(parent, generator)
                return *self._entered(mutant), "mutation"
            return *self._entered(self._space.random(generator)), "random"
        place = number + sum(self._counts.values())
        return *self._mirror.ask(number, self.in_a_row, place), f"sampler:{self._sampler}"

    def _entered(self, architecture: Architecture) -> tuple[int, dict[str, Any]]:
        values = dict(self._space.encode(architecture))
        return self._mirror.add(values), values

    def _check(self, architecture: Architecture) -> Judged | Refusal:
        if architecture.fingerprint in self._seen:
            return Refusal(REPEAT, "the same network was proposed before")
        return self._judge.judge(architecture)

    def _refuse(
        self, number: int, handle: int, values: Mapping[str, Any], refusal: Refusal
    ) -> None:
        self.in_a_row += 1
        self._counts[refusal.kind] = self._counts.get(refusal.kind, 0) + 1
        row = [values[name] for name in self._space.parameters]
        kept = {"number": number, "kind": refusal.kind, "reason": refusal.reason, "values": row}
        self._last.append(kept)
        if refusal.kind == REPEAT:
            self._mirror.drop(handle)
        else:
            self._mirror.refuse(handle, refusal.costs, refusal.violation)

    def _note(self, architecture: Architecture) -> None:
        self._seen.add(architecture.fingerprint)
        self._accepted.append(architecture)

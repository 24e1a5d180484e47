"""The choice of how many trials run at once, on simulated devices with a scripted clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from nas.search.concurrency import MOST_TRIALS, ConcurrencyChooser, FixedConcurrency

Curve = Callable[[int], float]
GIB = 2**30


class Device:
    """A GPU whose rate with k trials at once is ``curve(k)``, and a search that feeds it.

    Trials are set up one at a time, while the others wait, and run in turn. ``draw`` gives a
    trial's solo step seconds, its number of steps and its bytes.
    """

    def __init__(
        self,
        curve: Curve,
        *,
        noise: float = 0.0,
        memory: int = 80 * GIB,
        setup_seconds: float = 0.4,
        draw: Callable[[random.Random], tuple[float, int, int]] | None = None,
        supply: int = 10**9,
    ) -> None:
        self.chooser = ConcurrencyChooser()
        self.curve, self.noise, self.memory = curve, noise, memory
        self.setup_seconds, self.supply = setup_seconds, supply
        self.random = random.Random(7)
        self.draw = draw or (lambda _: (0.001, 4_000, GIB // 10))
        self.running: list[list[float]] = []
        self.seconds, self.done, self.most = 0.0, 0, 0

    def run(self, seconds: float) -> None:
        end = self.seconds + seconds
        while self.seconds < end:
            while len(self.running) < min(self.chooser.trials, self.supply):
                self.set_up()
            self.turn()

    def set_up(self) -> None:
        step, steps, size = self.draw(self.random)
        self.seconds += self.setup_seconds
        used = sum(trial[2] for trial in self.running) + size
        if used > self.memory:
            self.chooser.out_of_memory(len(self.running) + 1)
            return
        self.running.append([step * steps, step * steps, size])
        self.most = max(self.most, len(self.running))
        self.chooser.set_up(step, int(size), int(self.memory - used), len(self.running))

    def turn(self) -> None:
        seconds = 0.02
        rate = self.curve(len(self.running)) * self.random.gauss(1.0, self.noise)
        self.seconds += seconds
        self.chooser.observe(seconds, rate * seconds, len(self.running))
        for trial in list(self.running):
            trial[0] -= rate * seconds / len(self.running)
            if trial[0] <= 0:
                self.running.remove(trial)
                self.chooser.ended(self.setup_seconds, trial[1])
                self.done += 1


def best_of(curve: Curve, most: int = MOST_TRIALS) -> float:
    return max(curve(k) for k in range(1, most + 1))


def saturating(most: float, half: float) -> Curve:
    """1 for one trial, towards ``most`` for many."""
    return lambda k: 1 + (most - 1) * (1 - 2 ** (-(k - 1) / half))


def linear_to(limit: int) -> Curve:
    return lambda k: float(min(k, limit))


def peak_at(top: int, rise: float = 0.8, fall: float = 0.1) -> Curve:
    return lambda k: max(1 + rise * (min(k, top) - 1) - fall * max(k - top, 0), 0.3)


CURVES: dict[str, Curve] = {
    "no gain": lambda _: 1.0,
    "a loss": lambda k: 1 / k**0.3,
    "linear to 6": linear_to(6),
    "linear to 12": linear_to(12),
    "linear": linear_to(1000),
    "saturating early": saturating(2.5, 1.0),
    "saturating late": saturating(5.0, 6.0),
    "a peak at 3": peak_at(3, fall=0.4),
    "a peak at 6": peak_at(6, fall=0.4),
    "a peak at 10": peak_at(10, fall=0.3),
    "a plateau from 4": linear_to(4),
}


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", CURVES)
def test_nine_tenths_of_the_best_rate(name: str, noise: float) -> None:
    device = Device(CURVES[name], noise=noise)
    device.run(300)
    assert device.chooser.is_settled, device.chooser.rates
    reached = CURVES[name](device.chooser.trials)
    assert reached >= 0.9 * best_of(CURVES[name]), (device.chooser.trials, device.chooser.rates)


def test_no_more_trials_than_help() -> None:
    assert settled(lambda _: 1.0) == 1
    assert settled(linear_to(4)) == 4
    assert settled(peak_at(3, fall=0.4)) == 3


def settled(curve: Curve, **settings: float) -> int:
    device = Device(curve, **settings)  # type: ignore[arg-type]
    device.run(3_000)
    assert device.chooser.is_settled
    return device.chooser.trials


def test_set_up_that_takes_most_of_the_time_makes_more_trials_worth_less() -> None:
    def settled_with(setup_seconds: float) -> int:
        chooser = ConcurrencyChooser()
        chooser.ended(setup_seconds, 4.0)
        climb(chooser, saturating(4.0, 2.0))
        assert chooser.is_settled
        return chooser.trials

    assert settled_with(40.0) < settled_with(4.0) < settled_with(0.1)


@pytest.mark.parametrize(("noise", "seconds"), [(0.0, 2.0), (0.3, 8.0)])
def test_a_rate_is_taken_for_longer_where_it_is_uncertain(noise: float, seconds: float) -> None:
    chooser = ConcurrencyChooser()
    taken = 0.0
    while not chooser.rates:
        rate = 1 + noise * (-1) ** round(taken / 0.4)
        chooser.observe(0.4, 0.4 * rate, 1)
        taken += 0.4
    assert taken == pytest.approx(seconds)
    assert chooser.rates[1] == pytest.approx(1.0, rel=0.1)


def test_memory_limits_it() -> None:
    size = 10 * GIB
    device = Device(linear_to(1000), draw=lambda _: (0.001, 4_000, size))
    device.run(120)
    assert 4 <= device.most <= 8
    assert device.chooser.trials <= 8
    # One network of half the memory has no room for a second.
    large = Device(linear_to(1000), draw=lambda _: (0.001, 4_000, 50 * GIB))
    large.run(60)
    assert (large.most, large.chooser.trials) == (1, 1)


def test_the_largest_network_counts() -> None:
    chooser = ConcurrencyChooser()
    for size in (GIB, 10 * GIB, GIB):
        chooser.set_up(0.001, size, 20 * GIB, 1)
    climb(chooser, linear_to(1000))
    assert chooser.trials == 2


def climb(chooser: ConcurrencyChooser, curve: Curve, seconds: float = 60) -> None:
    for _ in range(int(seconds * 10)):
        chooser.observe(0.1, 0.1 * curve(chooser.trials), chooser.trials)


def test_out_of_memory_is_not_tried_again() -> None:
    chooser = ConcurrencyChooser()
    climb(chooser, linear_to(1000), 5)
    assert chooser.trials > 2
    chooser.out_of_memory(3)
    assert chooser.trials == 2
    climb(chooser, linear_to(1000))
    assert chooser.trials == 2
    chooser.out_of_memory(1)
    assert chooser.trials == 1


def test_networks_of_all_sizes_are_comparable() -> None:
    """Steps that take from 0.2 to 20 ms, as they come: the rate knows no difference."""

    def draw(source: random.Random) -> tuple[float, int, int]:
        return 0.0002 * 100 ** source.random(), 2_000, int(GIB * source.random())

    curve = linear_to(8)
    device = Device(curve, noise=0.1, draw=draw)
    device.run(300)
    assert curve(device.chooser.trials) >= 0.9 * 8, device.chooser.rates


def test_another_mix_is_measured_again() -> None:
    """Small networks leave room for many at once; then large ones come, which fill the device."""
    device = Device(linear_to(8), draw=lambda _: (0.001, 4_000, GIB // 10))
    device.run(90)
    assert device.chooser.trials == 8
    device.curve = linear_to(2)
    device.draw = lambda _: (0.004, 4_000, GIB // 10)
    device.run(240)
    assert device.chooser.trials == 2
    device.curve = linear_to(8)
    device.draw = lambda _: (0.001, 4_000, GIB // 10)
    device.run(240)
    assert device.chooser.trials == 8


def test_a_rate_that_drifts_is_measured_again() -> None:
    """Somebody else uses the device from now on; the networks are as before."""
    device = Device(linear_to(8))
    device.run(60)
    assert device.chooser.trials == 8
    device.curve = linear_to(3)
    device.run(100)
    assert device.chooser.trials <= 4


def test_memory_that_comes_free_is_used() -> None:
    device = Device(linear_to(16), memory=4 * GIB, draw=lambda _: (0.001, 4_000, GIB))
    device.run(60)
    before = device.chooser.trials
    assert before <= 4
    device.memory = 80 * GIB
    device.run(100)
    assert device.chooser.trials > before


def test_it_holds_while_nothing_changes() -> None:
    device = Device(linear_to(8), noise=0.05)
    device.run(60)
    seen = set()
    for _ in range(20):
        device.run(10)
        seen.add(device.chooser.trials)
    assert seen == {8}
    assert device.most <= 16


def test_what_runs_with_fewer_trials_says_nothing() -> None:
    chooser = ConcurrencyChooser()
    climb(chooser, linear_to(1000), 2.5)
    wanted = chooser.trials
    assert wanted > 1
    before = chooser.rates
    for _ in range(100):
        chooser.observe(0.1, 0.01, wanted - 1)
    assert (chooser.trials, chooser.rates) == (wanted, before)


def test_a_search_that_gives_too_few_trials_stays_where_it_is() -> None:
    device = Device(linear_to(1000), supply=3)
    device.run(60)
    assert len(device.running) <= 3
    assert device.chooser.trials == 4
    assert not device.chooser.is_settled


def test_a_stalled_device_is_no_division_by_zero() -> None:
    chooser = ConcurrencyChooser()
    climb(chooser, lambda _: 0.0)
    assert chooser.trials == 1
    assert all(map(math.isfinite, chooser.rates.values()))


def test_fixed_is_fixed() -> None:
    fixed = FixedConcurrency(5)
    fixed.set_up(0.001, 60 * GIB, GIB, 5)
    fixed.observe(100.0, 1.0, 5)
    fixed.ended(1.0, 1.0)
    fixed.out_of_memory(5)
    assert (fixed.trials, fixed.is_measuring) == (5, False)

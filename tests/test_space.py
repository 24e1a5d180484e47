"""Search spaces: round trips, moves that stay inside, the shipped spaces and what they hold."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import (
    AdaptivePool,
    Architecture,
    AuxiliaryHead,
    Cell,
    Conv,
    Head,
    Norm,
    Pool,
    Shape,
    check,
)
from nas.cost import COSTS, count_cost
from nas.presets import cifar_googlenet, googlenet, inception_v3, load_preset
from nas.space import (
    Choices,
    NotInSpaceError,
    Range,
    SearchSpace,
    first_fit,
    smallest,
    space_names,
)

IMAGES = {
    "googlenet": Shape(3, 224, 224),
    "googlenet_small": Shape(1, 28, 28),
    "inception_v3": Shape(3, 299, 299),
    "tiny": Shape(1, 28, 28),
}
SPACES = {name: SearchSpace.load(name) for name in space_names()}
EXAMPLES = int(os.environ.get("NAS_TEST_EXAMPLES", "20"))
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(params=sorted(SPACES))
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES[request.param]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(sorted(SPACES)), seeds)
def test_round_trips(name: str, seed: int) -> None:
    space = SPACES[name]
    architecture = space.random(np.random.default_rng(seed))
    assert Architecture.from_json(architecture.to_json()) == architecture
    values = space.encode(architecture)
    assert list(values) == list(space.parameters)
    assert space.decode(values) == architecture
    assert space.suggest(Answers(values)) == architecture
    check(architecture, IMAGES[name])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(sorted(SPACES)), seeds)
def test_what_is_inactive_is_ignored_and_first_in_the_encoding(name: str, seed: int) -> None:
    space, rng = SPACES[name], np.random.default_rng(seed)
    architecture = space.random(rng)
    values = space.encode(architecture)
    active = space.active(values)
    other = space.encode(space.random(rng))
    mixed = {key: values[key] if key in active else other[key] for key in values}
    assert space.decode(mixed) == architecture
    assert space.active(mixed) == active
    assert space.decode({key: values[key] for key in active}) == architecture
    for key in values.keys() - active:
        assert values[key] == space.parameters[key].values[0]
    # Every active choice shows in the architecture.
    for key in active:
        for value in space.parameters[key].values:
            changed = space.decode({**mixed, key: value})
            assert (changed == architecture) == (value == values[key])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(sorted(SPACES)), seeds)
def test_moves_stay_inside_and_a_mutant_differs(name: str, seed: int) -> None:
    space, rng = SPACES[name], np.random.default_rng(seed)
    first, second = space.random(rng), space.random(rng)
    for _ in range(5):
        mutant = space.mutate(first, rng)
        assert mutant != first
        assert space.decode(space.encode(mutant)) == mutant
        check_one_change(space, first, mutant)
        first = mutant
    child = space.crossover(first, second, rng)
    values, parents = space.encode(child), [space.encode(first), space.encode(second)]
    for key in space.active(values):
        owners = [parent for parent in parents if key in space.active(parent)]
        assert not owners or values[key] in [parent[key] for parent in owners]


def check_one_change(space: SearchSpace, before: Architecture, after: Architecture) -> None:
    """Of the choices that mattered before and matter after, at most one differs."""
    old, new = space.encode(before), space.encode(after)
    both = space.active(old) & space.active(new)
    changed = [key for key in both if old[key] != new[key]]
    assert len(changed) <= 1
    # With none, the one that changed is itself gone: impossible, since it has its new value.
    assert len(changed) == 1


def test_the_same_seed_gives_the_same_architectures(space: SearchSpace) -> None:
    def drawn(seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        first = space.random(rng)
        second = space.mutate(first, rng)
        return [a.fingerprint for a in (first, second, space.crossover(first, second, rng))]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_random_answers_are_uniform() -> None:
    space, rng = SPACES["tiny"], np.random.default_rng(0)
    cells = [len(space.random(rng).stages[0]) for _ in range(400)]
    # 400 fair coins: 200, standard deviation 10.
    assert 150 < cells.count(1) < 250


def test_a_new_cell_copies_the_one_before_it() -> None:
    space, rng = SPACES["googlenet"], np.random.default_rng(0)
    before = googlenet()
    deeper = 0
    for _ in range(600):
        after = space.mutate(before, rng)
        sizes = [len(stage) for stage in after.stages]
        if len(after.stages) == 3 and sum(sizes) > before.num_cells:
            deeper += 1
            stage = (
                sizes.index(max(sizes))
                if sizes[1] > 5
                else next(i for i, (a, b) in enumerate(zip(sizes, (2, 5, 2), strict=True)) if a > b)
            )
            old = len(before.stages[stage])
            assert set(after.stages[stage][old:]) == {before.stages[stage][-1]}
            assert after.stages[stage][:old] == before.stages[stage]
    assert deeper > 0


def test_a_space_of_one_architecture_has_no_mutants() -> None:
    space = SearchSpace.from_yaml(
        "{format: 1, name: x, stem: [], stages: {count: 1, cells: 1}, "
        "cell: {branches: {a: {forms: 3x3, channels: 8}}}}"
    )
    assert space.size == 1
    assert space.parameters == {}
    (only,) = space.enumerate()
    with pytest.raises(ValueError, match="one architecture, nothing can be changed"):
        space.mutate(only, np.random.default_rng(0))


class Answers:
    """Answers from a mapping, and what was asked."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values, self.asked = values, []

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        self.asked.append(name)
        assert self.values[name] in range(low, high + 1, step)
        return self.values[name]

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.asked.append(name)
        assert self.values[name] in choices
        return self.values[name]


def test_the_same_questions_are_asked_whatever_the_answers(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    for _ in range(3):
        answers = Answers(space.encode(space.random(rng)))
        space.suggest(answers)
        assert answers.asked == list(space.parameters)


def test_an_optuna_trial_answers(space: SearchSpace) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    choices: Choices = trial
    architecture = space.suggest(choices)
    assert list(trial.params) == list(space.parameters)
    study.tell(trial, 0.5)
    (frozen,) = study.trials
    assert space.decode(frozen.params) == architecture
    assert space.suggest(frozen) == architecture
    assert space.suggest(optuna.trial.FixedTrial(space.encode(architecture))) == architecture


def edit(architecture: Architecture, stage: int, cell: int, new: Cell) -> Architecture:
    stages = [list(cells) for cells in architecture.stages]
    stages[stage][cell] = new
    return replace(architecture, stages=tuple(map(tuple, stages)))


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("googlenet", googlenet),
        ("googlenet_small", cifar_googlenet),
        ("inception_v3", inception_v3),
    ],
)
def test_a_shipped_space_contains_its_preset(name: str, preset: Callable[[], Architecture]) -> None:
    space, architecture = SPACES[name], preset()
    assert space.contains(architecture)
    assert space.decode(space.encode(architecture)) == architecture


def test_spaces_do_not_contain_other_presets() -> None:
    members = {
        (name, preset)
        for name, space in SPACES.items()
        for preset in ("googlenet", "torchvision_googlenet", "naive_googlenet", "cifar_googlenet",
                       "inception_v3", "resnet_like")
        if space.contains(load_preset(preset))
    }  # fmt: skip
    assert members == {
        ("googlenet", "googlenet"),
        ("googlenet_small", "cifar_googlenet"),
        ("inception_v3", "inception_v3"),
    }


def outsiders() -> Iterator[tuple[Architecture, str]]:
    """GoogLeNet with one thing changed that the space does not have, and what is said of it."""
    net = googlenet()
    first = net.stages[0][0]
    one, three, five, pool = first.branches
    heads = net.auxiliary
    yield replace(net, stem=net.stem[1:]), "stem has 4 ops, and the space has 5"
    yield (
        replace(net, stem=(net.stem[1], *net.stem[1:])),
        "stem.0 is max 3x3/2, and the space has a c",
    )
    yield (
        replace(net, stem=(Conv((7, 7), 65, 2), *net.stem[1:])),
        "stem.0.channels is 65, and the space has 32 or 48 or 64",
    )
    yield replace(net, stages=net.stages[:1], reductions=(), auxiliary=()), "stages.count is 1, and"
    yield (
        edit(net, 0, 0, Cell((three, five, pool))),
        "stages.0.0.1x1.present is false, and the space has true",
    )
    yield (
        edit(net, 0, 0, Cell(((Conv((1, 1), 63),), three, five, pool))),
        "stages.0.0.1x1.channels is 63, and the space has 32 or 64 or 96 or 128",
    )
    yield (
        edit(net, 0, 0, Cell((one, one, three, five, pool))),
        "stages.0.0 has a branch 1x1 64 twice, the space has not",
    )
    yield (
        edit(net, 0, 0, Cell((one, three, five, pool, ()))),
        "stages.0.0 has a branch identity, the space has not",
    )
    yield (
        edit(net, 0, 0, Cell((one, three, five, (*pool, Pool())))),
        "stages.0.0 has a branch max 3x3 > 1x1 32 > max 3x3, the space has not",
    )
    yield (
        edit(net, 0, 0, Cell((one, three, five, (Pool(kernel=5), pool[1])))),
        "stages.0.0.pool is max 5x5 > 1x1 32, and the space has max 3x3 > 1x1 32",
    )
    yield (
        edit(net, 0, 0, Cell(first.branches, residual=True)),
        "residual is true in one place and false in another, and the space has one for the network",
    )
    yield (
        edit(net, 1, 2, Cell(net.stages[1][2].branches[:-1])),
        "stages.1.pool.present is true in one place and false in another, and the space has one",
    )
    yield (
        replace(net, reductions=(Pool("avg", 3, 2), net.reductions[1])),
        "reductions.0.kind is avg, and the space has max or conv or cell",
    )
    yield (
        replace(net, reductions=(Pool("max", 3, 2), net.reductions[1])),
        "reductions.0.max.padding is 1, and the space has 0",
    )
    yield (
        replace(net, reductions=(Conv((3, 3), 256, 4), net.reductions[1])),
        "reductions.0 has stride 4, and the space has 2",
    )
    yield replace(net, auxiliary=heads[:1]), "auxiliary is after stages.1.0"
    yield (
        replace(net, auxiliary=tuple(replace(head, weight=0.5) for head in heads)),
        "auxiliary.weight is 0.5, and the space has 0.3",
    )
    yield (
        replace(net, auxiliary=tuple(replace(head, pool=AdaptivePool(4)) for head in heads)),
        "auxiliary is after stages.1.0: avg to 4x4",
    )
    yield replace(net, auxiliary=(AuxiliaryHead(0, 0),)), "auxiliary is after stages.0.0"
    yield replace(net, head=Head(dropout=0.3)), "head.dropout is 0.3, and the space has 0.2 or 0.4"
    yield replace(net, head=Head(hidden=(64,))), "head.hidden has 1 layers, and the space has 0"
    yield replace(net, norm=Norm("none")), "norm.kind is none, and the space has batch"
    yield (
        replace(net, norm=Norm(eps=0.01)),
        "norm is batch norm (eps 0.01), and the space has batch",
    )


@pytest.mark.parametrize(("architecture", "message"), list(outsiders()))
def test_encode_says_what_the_space_has_not(architecture: Architecture, message: str) -> None:
    space = SPACES["googlenet"]
    assert not space.contains(architecture)
    with pytest.raises(NotInSpaceError) as caught:
        space.encode(architecture)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_decode_refuses_what_is_no_answer() -> None:
    space = SPACES["tiny"]
    values = space.encode(space.random(np.random.default_rng(0)))
    for change, message in [
        ({"stages.count": 3}, "stages.count is 3, and the space has 1 or 2"),
        ({"stages.count": True}, "stages.count is true, and the space has 1 or 2"),
        ({"stages.0.cells": 1.5}, "stages.0.cells is 1.5, and the space has 1 to 2"),
        ({"stages.0.cells": "1"}, "stages.0.cells is 1, and"),
        ({"residual": 1}, "residual is 1, and the space has false or true"),
        ({"residual": [True]}, r"residual is \[True\], and"),
        ({"stem.0.width": 8}, "the space tiny has no choice stem.0.width"),
    ]:
        with pytest.raises(ValueError, match=message):
            space.decode({**values, **change})
    with pytest.raises(ValueError, match=r"stages\.count must be given"):
        space.decode({name: value for name, value in values.items() if name != "stages.count"})


def test_decode_takes_the_scalars_of_a_table() -> None:
    space = SPACES["tiny"]
    values = space.encode(space.random(np.random.default_rng(1)))
    scalars = {
        name: value if value is None or isinstance(value, str) else np.asarray(value)[()]
        for name, value in values.items()
    }
    assert isinstance(scalars["residual"], np.bool_)
    assert space.decode(scalars) == space.decode(values)


def test_googlenet_small_reaches_from_5_to_300_million_macs() -> None:
    space, rng = SPACES["googlenet_small"], np.random.default_rng(0)
    drawn = [space.random(rng) for _ in range(200)]
    macs = [count_cost(one, IMAGES[space.name], 10).macs for one in drawn]
    assert np.quantile(macs, 0.1) < 20e6
    assert 30e6 < np.median(macs) < 150e6
    assert np.quantile(macs, 0.9) < 400e6
    assert {len(one.stages) for one in drawn} == {2, 3, 4}
    assert {type(r).__name__ for one in drawn for r in one.reductions} == {"Pool", "Conv", "Cell"}
    assert {len(stage) for one in drawn for stage in one.stages} == {1, 2, 3, 4, 5}
    for image in (Shape(3, 32, 32), Shape(3, 96, 96)):
        for one in drawn[:50]:
            check(one, image)


@pytest.mark.parametrize("cost", COSTS)
def test_smallest_is_the_smallest_of_tiny(cost: str) -> None:
    space, image = SPACES["tiny"], IMAGES["tiny"]
    listed = {one: getattr(count_cost(one, image, 10), cost) for one in space.enumerate()}
    architecture, least = smallest(space, image, 10, cost)
    assert least == listed[architecture] == min(listed.values())


def test_smallest_is_under_all_that_is_drawn(space: SearchSpace) -> None:
    image, rng = IMAGES[space.name], np.random.default_rng(0)
    architecture, least = smallest(space, image, 10, "macs")
    assert space.contains(architecture)
    assert least == count_cost(architecture, image, 10).macs
    assert least <= min(count_cost(space.random(rng), image, 10).macs for _ in range(100))


def test_smallest_and_first_fit_refuse() -> None:
    space = SPACES["googlenet"]
    with pytest.raises(ValueError, match=r"unknown cost 'mac'; did you mean 'macs'\?"):
        smallest(space, IMAGES["googlenet"], 10, "mac")
    for image in (Shape(3, 8, 8), Shape(3, 4, 4)):
        message = (
            rf"no architecture of the space googlenet fits an image of {image} \(\d+ tried\): "
        )
        with pytest.raises(ValueError, match=message + r".* does not fit a map of \dx\d pixels"):
            first_fit(space, image)
        with pytest.raises(ValueError, match=message):
            smallest(space, image, 10, "macs")
    with pytest.raises(ValueError, match=r"image\.height must be"):
        first_fit(space, Shape(3, 0, 8))


def test_first_fit_finds_the_few_that_fit() -> None:
    text = """
    format: 1
    name: deep
    stem:
      - {op: conv, kernel: 3, channels: 8, stride: [4, 1]}
      - {op: pool, kernel: 3, stride: [3, 2], padding: 0}
    stages: {count: [4, 1], cells: 1}
    cell: {branches: {a: {forms: 3x3, channels: 8}}}
    reductions: {max: {padding: 0}}
    """
    space, image = SearchSpace.from_yaml(text), Shape(3, 7, 7)
    # The first answers do not fit: a window of 3 on a map of 2 pixels.
    found = first_fit(space, image)
    check(found, image)
    assert len(found.stages) == 1
    # No single change of the first answers fits either, so the descent has to start elsewhere.
    architecture, least = smallest(space, image, 10, "macs")
    assert least == min(
        count_cost(one, image, 10).macs for one in space.enumerate() if fits(one, image)
    )
    assert fits(architecture, image)


def fits(architecture: Architecture, image: Shape) -> bool:
    try:
        check(architecture, image)
    except ValueError:
        return False
    return True


def test_a_space_as_it_is_written() -> None:
    text = """
    format: 1
    name: written
    stem: [{op: conv, kernel: 1x7, channels: 8, stride: 2}, {op: pool, kind: avg, stride: 2}]
    stages: {count: 3, cells: 1, overrides: {2: {residual: true, branches: {a: {channels: 12}}}}}
    cell:
      branches:
        a: {forms: 1x3+3x1, reduce: 4, channels: 10, inner: reduce}
        b: {forms: 3x3+3x3+3x3, channels: 6, inner: 5}
        c: {pool: avg, channels: 7}
    reductions:
      kind: cell
      cell:
        branches:
          a: {forms: 3x3+3x3, reduce: 4, channels: 10}
          b: {pool: max, channels: 7}
          c: {pool: max, channels: none}
      overrides: {1: {kind: conv, conv: {kernel: 5, channels: 9}}}
    head: {pool: flatten, hidden: [32, 16], dropout: 0}
    norm: {kind: none}
    """
    (built,) = SearchSpace.from_yaml(text).enumerate()
    one, three = (1, 1), (3, 3)
    b = (Conv(three, 5), Conv(three, 5), Conv(three, 6))
    c = (Pool("avg"), Conv(one, 7))

    def cell(channels: int, *, residual: bool = False) -> Cell:
        a = (Conv(one, 4), Conv((1, 3), 4), Conv((3, 1), channels))
        return Cell((a, b, c), residual)

    # The stride stands on the pooling where there is one, else on the last convolution.
    strided = Cell(
        (
            (Conv(one, 4), Conv(three, 10), Conv(three, 10, 2)),
            (Pool("max", 3, 2), Conv(one, 7)),
            (Pool("max", 3, 2),),
        )
    )
    assert built == Architecture(
        stem=(Conv((1, 7), 8, 2), Pool("avg", 3, 2)),
        stages=((cell(10),), (cell(10),), (cell(12, residual=True),)),
        reductions=(strided, Conv((5, 5), 9, 2)),
        head=Head("flatten", (32, 16), 0.0),
        norm=Norm("none"),
    )


def test_cells_can_be_a_range_and_a_list(space: SearchSpace) -> None:
    for domain in space.parameters.values():
        assert len(domain.values) > 1
        if isinstance(domain, Range):
            assert domain.values[-1] == domain.high

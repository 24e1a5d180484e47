"""What of a space fits an image, and what of it costs least there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product

import numpy as np

from nas.architecture import Architecture, Shape, check, check_classes, check_image
from nas.cost import COSTS, count_cost
from nas.quantities import unknown_name
from nas.space.domains import Domain, Range, Scalar
from nas.space.search_space import SearchSpace

_TRIES = 200
_STARTS = 3

_Values = dict[str, Scalar]


def first_fit(space: SearchSpace, image: Shape) -> Architecture:
    """An architecture of the space that fits the image.

    It tries the first answers with each number of stages and each stem, then random ones: what
    fits depends on strides and on poolings without padding, and little else.

    Raises:
        ValueError: none of those tried fits; the message gives the reason of the first.
    """
    check_image(image)
    reasons: list[str] = []
    for values in _tries(space):
        architecture = space.decode(values)
        try:
            check(architecture, image)
        except ValueError as error:
            reasons.append(str(error))
            continue
        return architecture
    raise ValueError(
        f"no architecture of the space {space.name} fits an image of {image} ({len(reasons)} "
        f"tried): {reasons[0]}"
    )


def _tries(space: SearchSpace) -> Iterator[_Values]:
    lowest = _lowest(space)
    names = [name for name in lowest if name == "stages.count" or name.startswith("stem.")]
    options = [space.parameters[name].values for name in reversed(names)]
    for combination in islice(product(*options), _TRIES):
        yield {**lowest, **dict(zip(reversed(names), combination, strict=True))}
    rng = np.random.default_rng(0)
    for _ in range(_TRIES):
        yield space.encode(space.random(rng))


def _lowest(space: SearchSpace) -> _Values:
    return {name: domain.values[0] for name, domain in space.parameters.items()}


def smallest(
    space: SearchSpace, image: Shape, classes: int, cost_name: str
) -> tuple[Architecture, int]:
    """The architecture of least counted cost that is found, and its cost, as `smallest_by`.

    The cost is without auxiliary heads, as :func:`nas.cost.count_cost` counts.

    Raises:
        ValueError: no architecture fits the image, or ``cost_name`` is no counted cost.
    """
    if cost_name not in COSTS:
        raise ValueError(unknown_name("cost", cost_name, COSTS))
    check_classes(classes)

    def cost_of(architecture: Architecture) -> float:
        return float(getattr(count_cost(architecture, image, classes), cost_name))

    architecture, cost = smallest_by(space, image, cost_of)
    return architecture, int(cost)


def smallest_by(
    space: SearchSpace, image: Shape, cost: Callable[[Architecture], float]
) -> tuple[Architecture, float]:
    """The architecture of least cost that coordinate descent finds, and its cost.

    It starts from the first answers and from some random ones, and changes one answer at a time
    while that helps. ``cost`` raises ValueError for an architecture that does not fit the image.

    Raises:
        ValueError: no architecture fits the image.
    """
    fitting = first_fit(space, image)
    rng = np.random.default_rng(0)
    starts = [_lowest(space), space.encode(fitting)]
    starts += [space.encode(space.random(rng)) for _ in range(_STARTS)]

    def cost_of(values: _Values) -> float:
        try:
            return cost(space.decode(values))
        except ValueError:
            # It does not fit the image.
            return math.inf

    found = [_descend(space, start, cost_of) for start in starts]
    values, least = min(found, key=lambda pair: pair[1])
    return space.decode(values), least


def _descend(
    space: SearchSpace, start: _Values, cost_of: Callable[[_Values], float]
) -> tuple[_Values, float]:
    """Change one active answer at a time while that lowers the cost."""
    values, cost = start, cost_of(start)
    has_improved = True
    while has_improved:
        has_improved = False
        for name in sorted(space.active(values)):
            # An earlier change may have made it inactive; then it changes nothing.
            for value in _nearby(space.parameters[name], values[name]):
                changed = {**values, name: value}
                if (less := cost_of(changed)) < cost:
                    values, cost, has_improved = changed, less, True
    return values, cost


def _nearby(domain: Domain, value: Scalar) -> Sequence[Scalar]:
    """What to try: all options, and of a range its ends and the value's neighbours."""
    if isinstance(domain, Range):
        at = domain.values.index(value)
        places = {0, at - 1, at + 1, len(domain.values) - 1}
        return [domain.values[place] for place in sorted(places) if 0 <= place < len(domain.values)]
    return domain.values

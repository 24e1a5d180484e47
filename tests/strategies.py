"""Random architectures for property tests: small enough to build and run, of every kind.

Every architecture drawn fits :data:`IMAGE` and everything larger.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from nas.architecture import (
    AdaptivePool,
    Architecture,
    AuxiliaryHead,
    Branch,
    Cell,
    Conv,
    Head,
    Norm,
    Pool,
    Reduction,
    Shape,
)

# A busy machine is no fault of a test: neither slow draws nor slow examples fail one.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

IMAGE = Shape(3, 13, 11)
"""The smallest image that all drawn architectures fit; uneven, so that a swapped side shows."""

widths = st.integers(1, 6)
kernels = st.sampled_from([(1, 1), (3, 3), (5, 5), (1, 3), (3, 1), (1, 7), (7, 1)])


def convs(stride: int = 1) -> st.SearchStrategy[Conv]:
    return st.builds(Conv, kernel=kernels, channels=widths, stride=st.just(stride))


def pools(stride: int = 1) -> st.SearchStrategy[Pool]:
    """Poolings whose map is as large as a strided convolution's (``ceil(n / stride)``)."""
    kinds = st.sampled_from(["max", "avg"])
    padded = st.builds(
        Pool, kind=kinds, kernel=st.just(3), stride=st.just(stride), padding=st.just(1)
    )
    if stride == 1:
        return padded
    ceil = st.builds(
        Pool,
        kind=kinds,
        kernel=st.just(2),
        stride=st.just(stride),
        padding=st.just(0),
        ceil=st.just(True),
    )
    return padded | ceil


@st.composite
def branches(draw: st.DrawFn, stride: int = 1) -> Branch:
    """One to three ops, one of them strided where ``stride`` is over 1."""
    length = draw(st.integers(1, 3))
    strided = draw(st.integers(0, length - 1))
    # 1x1 convolutions on the cell's input are what merging is about: draw them often.
    pointwise = st.builds(Conv, kernel=st.just((1, 1)), channels=widths)
    ops: list[Conv | Pool] = []
    for position in range(length):
        step = stride if position == strided else 1
        op = convs(step) | pools(step)
        ops.append(draw(pointwise | op if position == 0 and step == 1 else op))
    return tuple(ops)


@st.composite
def cells(draw: st.DrawFn, stride: int = 1, max_branches: int = 4) -> Cell:
    found = draw(st.lists(branches(stride), min_size=1, max_size=max_branches))
    if stride == 1 and draw(st.booleans()):
        found.append(())
    residual = stride == 1 and draw(st.booleans())
    return Cell(tuple(found), residual=residual)


def reductions() -> st.SearchStrategy[Reduction]:
    return pools(2) | convs(2) | cells(stride=2, max_branches=3)


@st.composite
def heads(draw: st.DrawFn) -> Head:
    return Head(
        pool=draw(st.sampled_from(["average", "flatten"])),
        hidden=tuple(draw(st.lists(widths, max_size=2))),
        dropout=draw(st.sampled_from([0.0, 0.25])),
    )


@st.composite
def auxiliary_heads(draw: st.DrawFn, stages: tuple[tuple[Cell, ...], ...]) -> Any:
    places = [(stage, cell) for stage, cells in enumerate(stages) for cell in range(len(cells))]
    chosen = draw(st.lists(st.sampled_from(places), unique=True, max_size=2))
    pooling = st.just(AdaptivePool(2)) | st.just(Pool("avg", 2, 2, padding=0))
    return tuple(
        AuxiliaryHead(
            stage,
            cell,
            pool=draw(pooling),
            channels=draw(widths),
            hidden=draw(widths),
            dropout=draw(st.sampled_from([0.0, 0.7])),
        )
        for stage, cell in sorted(chosen)
    )


@st.composite
def architectures(draw: st.DrawFn, norms: tuple[str, ...] = ("batch", "none")) -> Architecture:
    """Architectures of up to three stages of up to two cells; they fit :data:`IMAGE`."""
    num_stages = draw(st.integers(1, 3))
    stages = tuple(
        tuple(draw(st.lists(cells(), min_size=1, max_size=2))) for _ in range(num_stages)
    )
    return Architecture(
        stem=tuple(draw(st.lists(convs() | convs(2) | pools(2), max_size=1))),
        stages=stages,
        reductions=tuple(draw(reductions()) for _ in range(num_stages - 1)),
        auxiliary=draw(auxiliary_heads(stages)),
        head=draw(heads()),
        norm=Norm(draw(st.sampled_from(norms))),
    )

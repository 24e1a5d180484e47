"""What networks are made of, along the front: by hand on networks that one can read."""

import pandas as pd
import pytest
from synthetic_runs import OBJECTIVES, M, trials_frame

from nas.analysis.along_front import (
    branch_shares_table,
    front_parts,
    reduction_places_table,
    sorted_kinds,
    survival_table,
)
from nas.analysis.choice_figures import branch_shares_figure, reductions_figure, survival_figure
from nas.analysis.structure import branches_table, reductions_table, stages_table
from nas.analysis.tables import front_table, trials_table
from nas.architecture import Architecture, Cell, Conv, Pool
from nas.presets import googlenet, inception_v3

ONE, THREE = (Conv((k, k), 8) for k in (1, 3))
MIXED = Cell(
    branches=(
        (Conv((1, 1), 16),),
        (Conv((1, 1), 4), Conv((3, 3), 24)),
        (Conv((1, 1), 2), Conv((3, 3), 8), Conv((3, 3), 8)),
        (Pool("avg"), Conv((1, 1), 8)),
        (Pool("max"),),
        (),
    )
)
PLAIN = Cell(branches=((ONE,), (THREE,)))
NETWORK = Architecture(
    stem=(Conv((3, 3), 10),),
    stages=((PLAIN,), (MIXED, PLAIN)),
    reductions=(Conv((3, 3), 12, 2),),
)
SMALL = Architecture(
    stem=(), stages=((PLAIN,), (PLAIN,), (PLAIN,)),
    reductions=(Pool("max", stride=2), Cell(branches=((Conv((3, 3), 20, 2),),))),
)  # fmt: skip
TRIALS = trials_frame(
    [
        ("complete", 0.2, 10 * M, {"architecture": NETWORK.to_json()}),
        ("complete", 0.4, 2 * M, {"architecture": SMALL.to_json()}),
        ("pruned", None, 5 * M, {"architecture": NETWORK.to_json()}),
    ]
)


def test_branches_by_hand():
    table = branches_table(TRIALS)
    first = table[table["number"] == 0]
    assert len(first) == 2 + 6 + 2
    mixed = first[(first["stage"] == 1) & (first["cell"] == 0)].set_index("kind")
    assert set(mixed.index) == {"1x1", "3x3", "3x3+3x3", "average pool", "max pool", "identity"}
    assert mixed.loc["3x3", "reduce"] == 4
    assert pd.isna(mixed.loc["1x1", "reduce"])
    assert mixed.loc["3x3+3x3", "reduce"] == 2
    assert mixed["pool"].to_dict() == {
        **dict.fromkeys(("1x1", "3x3", "3x3+3x3", "identity"), ""),
        "average pool": "avg",
        "max pool": "max",
    }
    # The strided convolution gives 12 channels; what has no convolution passes them on.
    widths = {"1x1": 16, "3x3": 24, "3x3+3x3": 8, "average pool": 8, "max pool": 12, "identity": 12}
    assert mixed["channels"].to_dict() == widths
    assert mixed["share"].sum() == pytest.approx(1)
    assert mixed.loc["3x3", "share"] == pytest.approx(24 / 80)
    assert set(mixed["depth"]) == {0.5}
    assert set(first["stages"]) == {2}


def test_kinds_of_later_inception_cells():
    trials = trials_frame([("complete", 0.2, M, {"architecture": inception_v3().to_json()})])
    kinds = sorted_kinds(branches_table(trials))
    assert kinds[:3] == ["1x1", "3x3", "5x5"] or "1x7+7x1" in kinds
    assert kinds[-1] == "average pool"
    assert len(kinds) == len(set(kinds))


def test_reductions_by_hand():
    table = reductions_table(TRIALS)
    assert table["number"].tolist() == [0, 1, 1, 2]
    assert table["kind"].tolist() == ["convolution", "max pool", "cell", "convolution"]
    assert table["after_cells"].tolist() == [1, 1, 2, 1]
    assert table["cells"].tolist() == [3, 3, 3, 3]
    assert table["position"].tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1 / 3])
    of_googlenet = trials_frame([("complete", 0.2, M, {"architecture": googlenet().to_json()})])
    assert reductions_table(of_googlenet)["after_cells"].tolist() == [2, 7]  # before 4a and 5a


def test_stages_by_hand():
    table = stages_table(TRIALS.head(2))
    assert table["cells"].tolist() == [1, 2, 1, 1, 1]
    assert table["channels"].tolist() == [16] * 5
    of_googlenet = trials_frame([("complete", 0.2, M, {"architecture": googlenet().to_json()})])
    assert stages_table(of_googlenet)["channels"].tolist() == [480, 832, 1024]


def test_the_front_is_cut_from_small_to_large():
    front = pd.DataFrame({"number": range(7)})
    assert front_parts(front)["part"].tolist() == ["small"] * 3 + ["middle"] * 2 + ["large"] * 2
    assert front_parts(front.head(2))["part"].tolist() == ["small", "large"]
    assert front_parts(front.head(1))["part"].tolist() == ["all"]
    assert front_parts(front, 4)["part"].unique().tolist() == [f"{i} of 4" for i in (1, 2, 3, 4)]
    assert front_parts(front.head(0)).empty


def test_shares_along_the_front_by_hand():
    parts = front_parts(front_table(TRIALS, OBJECTIVES))
    table = branch_shares_table(branches_table(TRIALS), parts).set_index(["part", "kind"])
    assert table.index.get_level_values("part").unique().tolist() == ["small", "large"]
    assert table.loc[("small", "3x3"), "cell_share"] == 1
    assert table.loc[("small", "identity"), "cells"] == 0
    assert pd.isna(table.loc[("small", "identity"), "mean_channels"])
    large = table.loc["large"]
    assert large.loc["identity", "cell_share"] == pytest.approx(1 / 3)
    # Cells put out 16 + 80 + 16 channels, 3x3 branches 8 + 24 + 8 of them.
    assert large.loc["3x3", "channel_share"] == pytest.approx(40 / 112)
    assert large["channel_share"].sum() == pytest.approx(1)
    figure = branch_shares_figure(table.reset_index())
    assert [trace.name for trace in figure.data][:2] == ["1x1", "3x3"]
    assert sum(trace.x[0] for trace in figure.data) == pytest.approx(1)


def test_which_branches_survive_by_hand():
    table = survival_table(branches_table(TRIALS), TRIALS, OBJECTIVES).set_index("kind")
    identity = table.loc["identity"]
    # In two of three networks tried, in one of two on the front.
    assert (identity["proposed"], identity["front"]) == (2, 1)
    assert identity["proposed_share"] == pytest.approx(2 / 3)
    assert identity["lift"] == pytest.approx(0.5 / (2 / 3))
    # Wilson's interval of 1 of 2: (0.0945, 0.9055).
    assert (identity["low"], identity["high"]) == pytest.approx((0.0945, 0.9055), abs=1e-4)
    assert table.loc["3x3", "front_share"] == 1
    figure = survival_figure(table.reset_index())
    tried, kept = figure.data
    assert "open" in tried.marker.symbol
    assert list(kept.x) == table["front_share"].tolist()
    pruned = TRIALS[TRIALS["state"] == "pruned"]
    none = survival_table(branches_table(pruned), pruned, OBJECTIVES)
    assert none["front_share"].isna().all()


def test_reductions_of_the_front_come_first_and_the_cheapest_on_top():
    table = reduction_places_table(reductions_table(TRIALS), trials_table(TRIALS, OBJECTIVES))
    assert table["number"].tolist() == [1, 1, 0, 2]
    assert table["row"].tolist() == [0, 0, 1, 2]
    assert table["standing"].tolist() == ["front"] * 3 + ["stopped"]
    figure = reductions_figure(table)
    marks = {trace.name: trace for trace in figure.data}
    assert list(marks["cell"].x) == [2]
    assert list(marks["convolution"].customdata) == [0]  # the stopped one is not drawn
    assert list(figure.layout.yaxis.ticktext) == ["trial 1, 2M", "trial 0, 10M"]


def test_nothing_gives_empty_tables_and_figures():
    none = TRIALS.iloc[:0]
    branches, reductions = branches_table(none), reductions_table(none)
    assert branches.empty
    assert stages_table(none).empty
    parts = front_parts(front_table(none, OBJECTIVES))
    shares = branch_shares_table(branches, parts)
    survival = survival_table(branches, none, OBJECTIVES)
    places = reduction_places_table(reductions, trials_table(none, OBJECTIVES))
    assert shares.empty
    assert survival.empty
    assert places.empty
    assert not branch_shares_figure(shares).data
    assert not survival_figure(survival).data[0].x
    assert not reductions_figure(places).data[0].x

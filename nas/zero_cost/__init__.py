"""Scores of an untrained network that are said to tell how well it will train; hints, no errors.

Six from the literature: synflow, NASWOT, SNIP, gradient norm, jacov, ZiCo (formulas and sources in
:mod:`~nas.zero_cost.scores`). The number of parameters and the MACs, which cost nothing at all,
rank about as well on many spaces: never look at a score without them beside it
(``nas spaces SPACE --scores RUN``, :mod:`nas.analysis.score_table`).

:mod:`~nas.zero_cost.scoring` draws the images, builds the network and calls the scores. They are
computed on the proxy of a task as it stands before training, in float32 on one thread of a
processor, so that the same (architecture, task, seed) has the same scores anywhere. Left out:
the auxiliary heads, which are not part of the network that is judged.
"""

from nas.zero_cost.scores import SCORES, Batch
from nas.zero_cost.scoring import (
    FORMAT,
    Score,
    draw_batch,
    initial_network,
    score_architecture,
    score_network,
)

__all__ = [
    "FORMAT",
    "SCORES",
    "Batch",
    "Score",
    "draw_batch",
    "initial_network",
    "score_architecture",
    "score_network",
]

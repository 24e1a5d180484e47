"""A moving average of a network's weights, made beside every step.

The average of late weights generalises better than the last ones, most where the rate is still
high (Polyak's averaging; decays near 1 as in arXiv:1512.00567, section 8).

Batch norm's running statistics are averaged alike, with the same decay. The averaged weights
make other activations than the last ones do, so that those statistics cannot just be copied;
computing them anew would pass all training images once more. Left out: the decay's growth
(:func:`nas.training.schedule.ema_decay`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.model import Network


class AverageWeights:
    """The average of ``own``'s weights and statistics, in the network ``average``.

    Both have the same bits at first; ``average`` is in evaluation mode from now on.
    """

    def __init__(self, own: Network, average: Network) -> None:
        self.network = average.eval().requires_grad_(False)
        self._own, self._kept = _floats(own), _floats(average)
        self._counters = list(zip(_counters(average), _counters(own), strict=True))

    @torch.no_grad()
    def update(self, decay: Tensor) -> None:
        """Take in the weights as they are; ``decay`` is a scalar on their device."""
        torch._foreach_mul_(self._kept, decay)
        torch._foreach_add_(self._kept, torch._foreach_mul(self._own, 1 - decay))

    @torch.no_grad()
    def finish_epoch(self) -> None:
        """Copy what has no average: batch norm's counters of batches."""
        for mine, current in self._counters:
            mine.copy_(current)

    def changed_tensors(self) -> list[Tensor]:
        """All that :meth:`update` changes."""
        return list(self._kept)


def floating_buffers(network: nn.Module) -> list[Tensor]:
    """Batch norm's running means and variances."""
    return [item for item in network.buffers() if item.is_floating_point()]


def _floats(network: nn.Module) -> list[Tensor]:
    return [*(item.detach() for item in network.parameters()), *floating_buffers(network)]


def _counters(network: nn.Module) -> list[Tensor]:
    return [item for item in network.buffers() if not item.is_floating_point()]

"""The formulas: each takes a network at initialisation and images, and gives one number.

More is better, as the papers have it. A layer is a convolution or linear layer of the description:
where a module computes several at once (merged 1x1 convolutions), its weight is taken apart, so
that merged and separate networks score the same. Biases, scales and shifts of norms are no
weights here, as in the authors' code. All but :func:`synflow` see batch norm with the statistics
of the batch (training mode). Nothing is changed but the norms' running statistics.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.model import Classifier, ConvNormReLU, InceptionCell, Network

JACOV_OFFSET = 1e-5
"""``k`` of :func:`jacov`, as in the authors' code."""


class UndefinedScore(ArithmeticError):  # noqa: N818 - a result, not a bug
    """A network for which a score's formula gives no number; the message says why."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Normalised images, float32 N x C x H x W, and labels, int64 (N).

    Half of them are a batch: see each score for how many it takes.
    """

    images: Tensor
    labels: Tensor

    @property
    def halves(self) -> tuple[Batch, Batch]:
        """The images as two batches of the same size; of an odd number the last is left out."""
        size = len(self.labels) // 2
        first, second = slice(0, size), slice(size, 2 * size)
        return (
            Batch(self.images[first], self.labels[first]),
            Batch(self.images[second], self.labels[second]),
        )


def synflow(network: Network, batch: Batch) -> float:
    """``sum(|w * dR/dw|)`` with ``R`` the sum of the logits of an image of ones, weights ``|w|``.

    Synaptic flow of Tanaka et al., arXiv:2006.05467; summed over all weights it is a score in
    Abdelfattah et al., arXiv:2101.08134. Of the two forms in the latter's code
    (SamsungLabs/zero-cost-nas) this is ``synflow``, which passes batch norms by; ``synflow_bn``
    keeps them. ``R`` is the sum over all paths of the product of their weights, so each layer
    that all paths cross adds ``R`` once. In float64, as in that code: products grow large.
    """
    linear = copy.deepcopy(network).double().eval()
    for module in linear.modules():
        if isinstance(module, ConvNormReLU):
            module.norm = None
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.abs_()
    ones = torch.ones_like(batch.images[:1], dtype=torch.float64)
    return _saliency(_gradients(linear, linear(ones).sum()))


def naswot(network: Network, batch: Batch) -> float:
    """``log |det K|``, where ``K_ij`` counts the ReLUs that are alike on images ``i`` and ``j``.

    Mellor et al., arXiv:2006.04647 (and their code's ``hook_logdet``): ``K_ij = N_A - d_H(c_i,
    c_j)`` with the Hamming distance of the images' binary codes, a bit a ReLU of the ``N_A``:
    whether its input is over 0. On all of the batch's images (128 there).

    Raises:
        UndefinedScore: two images have the same code, so that there is no determinant.
    """
    count = torch.zeros(len(batch.labels), len(batch.labels), dtype=torch.float64)

    def add(output: Tensor) -> None:
        # Of signs, (units + product) / 2 are alike. Whole numbers under 2**24: exact in float32.
        signs = (output.detach().flatten(1) > 0).float().mul_(2).sub_(1)
        count.add_((signs @ signs.T).double().add_(signs.shape[1]).div_(2))

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output: add(output))
        for module in _rectified(network)
    ]
    try:
        with torch.no_grad():
            network(batch.images)
    finally:
        for handle in handles:
            handle.remove()
    apart = count[0, 0] - (count - torch.diag(torch.diagonal(count))).max()
    if apart <= 0:  # rounding would give a determinant all the same
        raise UndefinedScore("two images switch the same ReLUs on: the determinant is 0")
    return float(torch.linalg.slogdet(count).logabsdet)


def snip(network: Network, batch: Batch) -> float:
    """``sum(|w * dL/dw|)`` over all weights, with the cross entropy ``L`` of the first half.

    Lee et al., arXiv:1810.02340: a connection's sensitivity ``|dL/dc|`` at its mask ``c = 1``,
    before it is divided by the sum of all; that sum is the score in arXiv:2101.08134.
    """
    return _saliency(_gradients(network, _loss(network, batch.halves[0])))


def grad_norm(network: Network, batch: Batch) -> float:
    """The sum over layers of the Euclidean norm of ``dL/dw``, on the first half.

    Abdelfattah et al., arXiv:2101.08134, and their code's ``grad_norm``.
    """
    found = _gradients(network, _loss(network, batch.halves[0]))
    return _sum(gradient.norm() for _, gradient in found)


def jacov(network: Network, batch: Batch) -> float:
    """``-sum(log(v + k) + 1 / (v + k))``, ``v`` the eigenvalues of the Jacobians' correlation.

    An image's Jacobian is the gradient of the sum of all logits with respect to its pixels; the
    correlations are between images of the first half. Mellor et al., arXiv:2006.04647v1;
    ``jacob_cov`` in arXiv:2101.08134 and its code, with ``k`` = 1e-5.

    Raises:
        UndefinedScore: the gradient of an image is the same at all pixels, so that it has no
            correlation with another's.
    """
    images = batch.halves[0].images.clone().requires_grad_()
    (jacobians,) = torch.autograd.grad(network(images).sum(), images)
    correlations = torch.corrcoef(jacobians.flatten(1).double())
    if not bool(correlations.isfinite().all()):
        raise UndefinedScore("an image's gradient does not vary: it has no correlation")
    # No eigenvalue is negative but by rounding.
    values = torch.linalg.eigvalsh(correlations).clamp(min=0) + JACOV_OFFSET
    return -float((values.log() + 1 / values).sum())


def zico(network: Network, batch: Batch) -> float:
    """The sum over layers of ``log(sum(E|g| / sqrt(Var|g|)))`` over the layer's weights.

    ``g`` is a weight's gradient of the cross entropy; ``E`` and ``Var`` (of ``|g|``, not
    corrected for their number) run over batches, two as in the paper: the halves. Li et al.,
    arXiv:2301.11300. As in their code (SLDGroup/ZiCo), weights whose gradients do not vary are
    left out, and layers of nothing else. That code differs from the paper's formula, and so from
    this, in two ways: gradients add up from batch to batch, and the variance is that of ``g``.

    Raises:
        UndefinedScore: no gradient varies.
    """
    first, second = (_gradients(network, _loss(network, half)) for half in batch.halves)
    logs = []
    for (_, one), (_, other) in zip(first, second, strict=True):
        sizes = torch.stack((one, other)).abs().double()
        mean, deviation = sizes.mean(0), sizes.std(0, correction=0)
        varies = deviation != 0  # NaN stays in
        if bool(varies.any()):
            logs.append((mean[varies] / deviation[varies]).sum().log())
    if not logs:
        raise UndefinedScore("no gradient differs from batch to batch")
    return _sum(logs)


SCORES: Mapping[str, Callable[[Network, Batch], float]] = {
    "synflow": synflow,
    "naswot": naswot,
    "snip": snip,
    "grad_norm": grad_norm,
    "jacov": jacov,
    "zico": zico,
}
"""The scores by name."""


def _sum(parts: Iterable[Tensor]) -> float:
    """A sum that does not depend on the layers' order."""
    return math.fsum(float(part) for part in parts)


def _saliency(layers: Iterable[tuple[Tensor, Tensor]]) -> float:
    return _sum((weight * gradient).abs().sum() for weight, gradient in layers)


def _loss(network: Network, batch: Batch) -> Tensor:
    return functional.cross_entropy(network(batch.images), batch.labels)


def _gradients(network: Network, loss: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Weight and gradient of each layer; those that are computed as one are taken apart."""
    cells = (module for module in network.modules() if isinstance(module, InceptionCell))
    widths: dict[nn.Module, list[int]] = {
        cell.merged.conv: cell.widths for cell in cells if cell.merged is not None
    }
    layers = [item for item in network.modules() if isinstance(item, nn.Conv2d | nn.Linear)]
    gradients = torch.autograd.grad(loss, [layer.weight for layer in layers])
    found: list[tuple[Tensor, Tensor]] = []
    for layer, gradient in zip(layers, gradients, strict=True):
        parts = widths.get(layer, [len(gradient)])
        weights = torch.split(layer.weight.detach(), parts)
        found.extend(zip(weights, torch.split(gradient, parts), strict=True))
    return found


def _rectified(network: Network) -> Iterator[nn.Module]:
    """The modules whose output is over 0 exactly where a ReLU's input is."""
    for module in network.modules():
        if isinstance(module, Classifier):
            yield from module.hidden
        elif isinstance(module, InceptionCell):
            if module.projection is not None:
                yield module
        elif isinstance(module, ConvNormReLU) and module.relu:
            yield module

"""The small classes that an exported source may need, as text; only those used are written.

Their attributes name the parameters, and must agree with :mod:`nas.model`; the proof of every
export loads the weights strictly.
"""

from __future__ import annotations

SQUARE_KERNELS = {"{kernel}": "int", "{padding}": "kernel_size // 2"}
ANY_KERNELS = {
    "{kernel}": "tuple[int, int]",
    "{padding}": "(kernel_size[0] // 2, kernel_size[1] // 2)",
}
"""What stands for the marks of a convolution; kernels are all square, or all (height, width)."""

CONV_NORM_RELU = '''\
class ConvNormReLU(nn.Module):
    """A convolution with "same" padding, batch norm, and a ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: {kernel},
        stride: int = 1,
    ) -> None:
        super().__init__()
        padding = {padding}
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels, eps={eps})

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))
'''

CONV_RELU = '''\
class ConvReLU(nn.Module):
    """A convolution with "same" padding and a bias, and a ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: {kernel},
        stride: int = 1,
    ) -> None:
        super().__init__()
        padding = {padding}
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x))
'''

INCEPTION_CELL = '''\
class InceptionCell(nn.Module):
    """Branches side by side on one input, concatenated along channels.

    A branch is a list of layers in a row; the empty one passes the input on.
    """

    def __init__(self, *branches: list[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*branch) for branch in branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)
'''

PROJECTION = '''\
class Projection(nn.Module):
    """A 1x1 convolution with batch norm and no ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps={eps})

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))
'''

PLAIN_PROJECTION = '''\
class Projection(nn.Module):
    """A 1x1 convolution with a bias and no ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
'''

RESIDUAL_CELL = '''\
class ResidualInceptionCell(nn.Module):
    """Branches side by side, concatenated, projected, and added to the input.

    A branch is a list of layers in a row; ``width`` is that of all branches together.
    """

    def __init__(self, channels: int, width: int, *branches: list[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*branch) for branch in branches)
        self.projection = Projection(width, channels)

    def forward(self, x: Tensor) -> Tensor:
        branches = torch.cat([branch(x) for branch in self.branches], dim=1)
        return torch.relu(x + self.projection(branches))
'''

HEAD = '''\
class Head(nn.Module):
    """Global average pooling, fully connected layers, and the classifier."""

    def __init__(
        self, features: int, hidden: list[int], dropout: float, num_classes: int
    ) -> None:
        super().__init__()
        widths = [features, *hidden]
        self.width = widths[-1]
        self.hidden = nn.ModuleList(
            nn.Linear(before, after) for before, after in zip(widths, hidden)
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = x.mean(dim=(2, 3))
        for layer in self.hidden:
            x = self.dropout(torch.relu(layer(x)))
        if not self.hidden:
            x = self.dropout(x)
        return x if pre_logits else self.classifier(x)
'''

FLATTEN_HEAD = HEAD.replace("Global average pooling", "Flattening").replace(
    "x = x.mean(dim=(2, 3))", "x = x.flatten(1)"
)

AUXILIARY_HEAD = '''\
class AuxiliaryHead(nn.Module):
    """A classifier on the output of a cell, for training only."""

    def __init__(
        self,
        pool: nn.Module,
        in_channels: int,
        channels: int,
        features: int,
        hidden: int,
        dropout: float,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.width = hidden
        self.pool = pool
        self.conv = {conv}(in_channels, channels, {one})
        self.hidden = nn.Linear(features, hidden)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pool(x)).flatten(1)
        return self.classifier(self.dropout(torch.relu(self.hidden(x))))
'''

LOGITS = '''\
class Logits(NamedTuple):
    """Logits (N, classes) of the head, and of each auxiliary head in order."""

    main: Tensor
    auxiliary: tuple[Tensor, ...]
'''

FEATURES = '''\
    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits of the last map, or what the classifier reads."""
        return self.head(x, pre_logits)

    def forward_intermediates(
        self,
        images: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The stages' maps, as timm gives them: see `feature_info` for their sizes.

        `indices` names stages (negative ones count from the end); a number takes that
        many of the last, None takes all. There is no final norm to apply.
        """
        if norm or output_fmt != "NCHW":
            raise ValueError("there is no final norm, and maps are NCHW")
        places = range(len(self.stages))
        if isinstance(indices, int):
            if not 0 < indices <= len(places):
                raise ValueError(f"indices must be 1 to {len(places)}, not {indices}")
            wanted = list(places[-indices:])
        else:
            wanted = [places[i] for i in (places if indices is None else indices)]
        x = self.stem(images)
        maps = []
        for i, stage in enumerate(self.stages):
            x = stage(self.reductions[i - 1](x) if i > 0 else x)
            if i in wanted:
                maps.append(x)
            if stop_early and i == max(wanted):
                break
        return maps if intermediates_only else (x, maps)

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.head.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new last layer in place, for other classes; 0 leaves the features."""
        device = next(self.parameters()).device
        for head in {heads}:
            last = nn.Linear(head.width, num_classes) if num_classes else nn.Identity()
            head.classifier = last.to(device)
        self.num_classes = num_classes

    def load_backbone(self, weights: dict[str, Tensor]) -> None:
        """Load all but the classifiers, for a network with other classes."""
        kept = {k: v for k, v in weights.items() if "classifier." not in k}
        missing, unknown = self.load_state_dict(kept, strict=False)
        wrong = [name for name in missing if "classifier." not in name] + unknown
        if wrong:
            raise ValueError(f"these are weights of another network: see {wrong[0]}")
'''
"""Methods of ``Network`` under the names that timm's users know."""

PREPROCESS = '''\
def preprocess(pixels: Tensor) -> Tensor:
    """Normalise images (N, C, H, W) of pixels from 0 to 255."""
    mean = torch.tensor(MEAN, device=pixels.device).view(1, -1, 1, 1)
    std = torch.tensor(STD, device=pixels.device).view(1, -1, 1, 1)
    return (pixels / 255 - mean) / std
'''

# The fused form: norms folded into convolutions, 1x1s on one input computed as one.

FUSED_CONV = CONV_RELU.replace(
    'A convolution with "same" padding and a bias, and a ReLU.',
    'A convolution with "same" padding, the norm folded into it, and a ReLU.',
).replace("torch.relu(", "torch.relu_(")

MERGED_CELL = '''\
class Reduced(nn.Sequential):
    """A branch behind a 1x1 convolution of `width` channels; its cell computes that."""

    def __init__(self, width: int, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.width = width


class MergedCell(nn.Module):
    """Branches side by side on one input, concatenated along channels.

    The 1x1 convolutions that read the input are computed as one, then split.
    """

    def __init__(self, in_channels: int, *branches: nn.Sequential) -> None:
        super().__init__()
        self.widths = [each.width for each in branches if isinstance(each, Reduced)]
        self.merged = ConvReLU(in_channels, sum(self.widths), {one})
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        parts = iter(self.merged(x).split(self.widths, dim=1))
        maps = [
            branch(next(parts) if isinstance(branch, Reduced) else x)
            for branch in self.branches
        ]
        return torch.cat(maps, dim=1)
'''

FUSED_CELL = '''\
class InceptionCell(nn.Module):
    """Branches side by side on one input, concatenated along channels."""

    def __init__(self, *branches: nn.Sequential) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)
'''

FUSED_RESIDUAL = '''\
class Residual(nn.Module):
    """A cell whose output, projected to the input's channels, is added to the input."""

    def __init__(self, channels: int, width: int, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell
        self.projection = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.projection(self.cell(x)) + x)
'''

FUSED_HEAD = '''\
class Head(nn.Module):
    """Global average pooling, fully connected layers, and the classifier."""

    def __init__(self, features: int, hidden: list[int], num_classes: int) -> None:
        super().__init__()
        widths = [features, *hidden]
        self.hidden = nn.ModuleList(
            nn.Linear(before, after) for before, after in zip(widths, hidden)
        )
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean(dim=(2, 3))
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.classifier(x)
'''

FUSED_FLATTEN_HEAD = FUSED_HEAD.replace("Global average pooling", "Flattening").replace(
    "x = x.mean(dim=(2, 3))", "x = x.flatten(1)"
)

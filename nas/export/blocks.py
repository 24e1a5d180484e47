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
        self.hidden = nn.ModuleList(
            nn.Linear(before, after) for before, after in zip(widths, hidden)
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean(dim=(2, 3))
        for layer in self.hidden:
            x = self.dropout(torch.relu(layer(x)))
        return self.classifier(x if self.hidden else self.dropout(x))
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

PREPROCESS = '''\
def preprocess(pixels: Tensor) -> Tensor:
    """Normalise images (N, C, H, W) of pixels from 0 to 255."""
    mean = torch.tensor(MEAN, device=pixels.device).view(1, -1, 1, 1)
    std = torch.tensor(STD, device=pixels.device).view(1, -1, 1, 1)
    return (pixels / 255 - mean) / std
'''

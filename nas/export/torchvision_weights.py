"""torchvision's GoogLeNet weights under this package's names, and back.

The names are those of ``torchvision.models.googlenet`` (BSD-3), whose state dict `torch.save`
keeps in files like ``googlenet-1378be20.pth``. Its first auxiliary head, ``aux1``, reads the first
cell of the middle stage, ``aux2`` the fourth. Its two 3x3 branches (see
:func:`nas.presets.torchvision_googlenet`) are told apart by their width: ``branch2`` is the wider.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

CELLS = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
"""The paper's names of the cells, in order; the digit less three is the stage."""

Value = TypeVar("Value")


def is_torchvision(names: Mapping[str, object]) -> bool:
    """Whether these are the names of torchvision's GoogLeNet."""
    return "inception3a.branch1.conv.weight" in names


def module_names() -> dict[str, str]:
    """torchvision's module names, and this package's for the same layers."""
    names = {"conv1": "stem.0", "conv2": "stem.2", "conv3": "stem.3", "fc": "head.classifier"}
    for letter in CELLS:
        stage, cell = int(letter[0]) - 3, "abcde".index(letter[1])
        theirs, ours = f"inception{letter}", f"stages.{stage}.{cell}.branches"
        names |= {
            f"{theirs}.branch1": f"{ours}.0.0",
            f"{theirs}.branch2.0": f"{ours}.1.0",
            f"{theirs}.branch2.1": f"{ours}.1.1",
            f"{theirs}.branch3.0": f"{ours}.2.0",
            f"{theirs}.branch3.1": f"{ours}.2.1",
            f"{theirs}.branch4.1": f"{ours}.3.1",
        }
    for number in (0, 1):
        theirs, ours = f"aux{number + 1}", f"auxiliary.{number}"
        names |= {
            f"{theirs}.conv": f"{ours}.conv",
            f"{theirs}.fc1": f"{ours}.hidden",
            f"{theirs}.fc2": f"{ours}.classifier",
        }
    return names


def plain_names(weights: Mapping[str, Value]) -> dict[str, Value]:
    """torchvision's entries under the names of :func:`nas.build`'s state dict.

    Raises:
        ValueError: an entry is not one of torchvision's GoogLeNet; the message names it.
    """
    modules = module_names()
    found = {}
    for name, value in weights.items():
        module, _, rest = name.rpartition(".")
        inner = {"conv": "conv", "bn": "norm"}.get(module.rpartition(".")[2], "")
        is_layer = module not in modules and inner
        ours = modules.get(module.rpartition(".")[0] if is_layer else module)
        if ours is None:
            raise ValueError(f"torchvision's GoogLeNet has no tensor {name!r}")
        found[f"{ours}.{inner}.{rest}" if is_layer else f"{ours}.{rest}"] = value
    return found


def torchvision_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reverse: a state dict of the torchvision preset under torchvision's names.

    Raises:
        ValueError: an entry is not one of the preset's; the message names it.
    """
    modules = {ours: theirs for theirs, ours in module_names().items()}
    found = {}
    for name, value in weights.items():
        module, _, rest = name.rpartition(".")
        outer, _, last = module.rpartition(".")
        if module in modules:
            found[f"{modules[module]}.{rest}"] = value
        elif outer in modules:
            found[f"{modules[outer]}.{'bn' if last == 'norm' else last}.{rest}"] = value
        else:
            raise ValueError(f"torchvision's GoogLeNet has no layer {module!r}")
    return found

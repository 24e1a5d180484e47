"""A small task with real training for the tests: a cell net on learnable 12-pixel images."""

import torch

from nas.architecture import Architecture, AuxiliaryHead, Cell, Conv, Head, Pool, Shape
from nas.datasets import Split, Statistics, TrainValidation, carve, from_tensors, measure_statistics
from nas.task import Task, create_task

IMAGE = Shape(1, 12, 12)


def small_architecture(dropout: float = 0.3) -> Architecture:
    cell = Cell(
        branches=(
            (Conv((1, 1), 32),),
            (Conv((1, 1), 16), Conv((3, 3), 32)),
            (Pool("max", 3), Conv((1, 1), 16)),
        )
    )
    return Architecture(
        stem=(Conv((3, 3), 32),),
        stages=((cell, cell), (cell,)),
        reductions=(Pool("max", 3, 2),),
        auxiliary=(AuxiliaryHead(0, 1, channels=16, hidden=32, dropout=0.5),),
        head=Head(dropout=dropout),
    )


def small_split(num_images: int = 260) -> Split:
    """Four classes, a bright band at one height (mirroring keeps the class), under noise."""
    numbers = torch.Generator().manual_seed(0)
    labels = torch.arange(num_images) % 4
    images = torch.randint(0, 120, (num_images, 1, *IMAGE[1:]), generator=numbers)
    for index, label in enumerate(labels.tolist()):
        images[index, 0, 3 * label : 3 * label + 3] += 60
    return from_tensors(images.to(torch.uint8), labels, ["a", "b", "c", "d"])


def small_data() -> tuple[TrainValidation, Statistics]:
    data = carve(small_split(), 60)
    return data, measure_statistics(data.train)


def small_task(**recipe: object) -> Task:
    """Four epochs of 96 images in batches of 32, with augmentation and dropout: rungs 1, 2, 4."""
    settings = {
        "proxy": {"width": 0.5, "images": 96, "epochs": 4, "stem": "own"},
        "validation_images": 60,
        "recipe": {"batch_size": 32, "augment": "crop-flip", **recipe},
    }
    return create_task(small_split().describe("small"), settings)

"""Draw the embedded fashion-mnist-mini from Debian's package dataset-fashion-mnist.

    apt-get install dataset-fashion-mnist
    python benchmarks/make_fashion_mnist_mini.py [--out DIRECTORY]

The first 1,000 images of each class of the official training split, and the first 200 of the
official test split, sorted by class, 100 in a row of one grey PNG. Nothing is random; the pixels
are always the same (the files' bytes depend on the compressor of the installed Pillow).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from nas.datasets.fashion_mnist import (
    CLASS_NAMES,
    EMBEDDED_DIRECTORY,
    IMAGE,
    PER_CLASS,
    TILES_PER_ROW,
    DebianFashionMnist,
)
from nas.datasets.source import SPLIT_NAMES, SplitName


def make_sheet(split: SplitName, out: Path) -> Path:
    source = DebianFashionMnist()
    labels = source.labels(split)
    first = [np.flatnonzero(labels == c)[: PER_CLASS[split]] for c in range(len(CLASS_NAMES))]
    images = source.pixels(split)[np.concatenate(first)]
    _, height, width = IMAGE
    rows = images.reshape(-1, TILES_PER_ROW, height, width)
    sheet = rows.transpose(0, 2, 1, 3).reshape(-1, TILES_PER_ROW * width)
    path = out / f"{split}.png"
    Image.fromarray(sheet).save(path, optimize=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=EMBEDDED_DIRECTORY)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for split in SPLIT_NAMES:
        path = make_sheet(split, out)
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

"""Data sets as uint8 tensors on a device: embedded, Hugging Face, folders, Parquet, your own.

Light to import but for torch: Pillow, pyarrow and Hugging Face's ``datasets`` wait until a set
needs them.
"""

from nas.datasets.augment import augment, normalise
from nas.datasets.cache import cache_directory
from nas.datasets.loading import DATA_NAMES, describe_data, load_data
from nas.datasets.source import SplitName
from nas.datasets.split import (
    DataInfo,
    Split,
    Statistics,
    TrainValidation,
    carve,
    measure_statistics,
)
from nas.datasets.tensors import from_tensors

__all__ = [
    "DATA_NAMES",
    "DataInfo",
    "Split",
    "SplitName",
    "Statistics",
    "TrainValidation",
    "augment",
    "cache_directory",
    "carve",
    "describe_data",
    "from_tensors",
    "load_data",
    "measure_statistics",
    "normalise",
]

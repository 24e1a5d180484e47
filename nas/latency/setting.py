"""Where a latency holds: device, machine, threads, images at once, torch's version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

BATCH = 1
"""Images at once: latency is the time to one answer."""


@dataclass(frozen=True)
class Setting:
    """What a latency depends on beside the network; tables of different ones do not compare.

    ``machine`` names the processor, and the GPU where ``device`` is ``cuda``. ``threads`` are
    torch's own.
    """

    device: str
    machine: str
    threads: int
    batch: int
    torch: str

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        images = f"{self.batch} image{'s' if self.batch > 1 else ''} at a time"
        return f"{self.device} ({self.machine}), {threads}, {images}, torch {self.torch}"

    def to_data(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> Setting:
        """Read what :meth:`to_data` wrote."""
        return Setting(**{item.name: data[item.name] for item in fields(Setting)})

    def differences(self, other: Setting) -> list[str]:
        """What differs in ``other``, in words: "device cpu there, cuda here"."""
        return [
            f"{item.name} {getattr(self, item.name)} there, {getattr(other, item.name)} here"
            for item in fields(Setting)
            if getattr(self, item.name) != getattr(other, item.name)
        ]

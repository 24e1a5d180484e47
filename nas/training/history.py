"""What a full training has seen so far, epoch by epoch, and its best epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from nas.training.validation import Validation


@dataclass
class History:
    """Lists with an entry an epoch; the validation's are empty where there is no such part.

    ``best`` are the judged weights of the epoch with the highest validation accuracy, the first
    of several: None without a validation part.
    """

    train_losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    validation_accuracies: list[float] = field(default_factory=list)
    best: dict[str, Tensor] | None = None

    @property
    def best_epoch(self) -> int | None:
        """1-based, or None without a validation part."""
        accuracies = self.validation_accuracies
        return accuracies.index(max(accuracies)) + 1 if accuracies else None

    def add_validation(self, validation: Validation) -> bool:
        """Take in an epoch's validation; whether the epoch is the best so far."""
        self.validation_losses.append(validation.loss)
        self.validation_accuracies.append(1 - validation.error)
        return self.best_epoch == len(self.validation_accuracies)

    def state_dict(self) -> dict[str, Any]:
        """Lists and tensors for a checkpoint."""
        return {
            "train_losses": list(self.train_losses),
            "seconds": list(self.seconds),
            "validation_losses": list(self.validation_losses),
            "validation_accuracies": list(self.validation_accuracies),
            "best": self.best,
        }

    @staticmethod
    def from_state_dict(state: Mapping[str, Any]) -> History:
        """What :meth:`state_dict` gave."""
        return History(**state)

"""Latency: measured on this machine, tabled for a space, predicted for each of its networks.

:mod:`~nas.latency.layers` says what a network executes, :mod:`~nas.latency.predictor` how long
that takes once :mod:`~nas.latency.building` has measured a space's layers, and
:mod:`~nas.latency.table` keeps both. These and :mod:`~nas.latency.setting` need no torch. While
trials train nothing is measured (:mod:`~nas.latency.solitude`).
"""

from nas.latency.predictor import Predictor, fit_predictor
from nas.latency.setting import Setting
from nas.latency.table import LatencyTable, PredictionError, prediction_error

__all__ = [
    "LatencyTable",
    "PredictionError",
    "Predictor",
    "Setting",
    "fit_predictor",
    "prediction_error",
]

"""The experiments by name."""

from collections.abc import Callable

from bench.results.experiments.capabilities import capabilities, students, unlabelled
from bench.results.experiments.defaults import (
    defaults_classes,
    defaults_depthwise,
    defaults_long,
    defaults_photographs,
    defaults_small,
)
from bench.results.experiments.experiment import Experiment, Setting
from bench.results.experiments.methods import default_weights, methods
from bench.results.experiments.peers import equal_accuracy, peers
from bench.results.experiments.photographs import origins, photographs

TABLES: dict[str, Callable[[Setting], Experiment | None]] = {
    "methods": methods,
    "default_weights": default_weights,
    "peers": peers,
    "equal_accuracy": equal_accuracy,
    "capabilities": capabilities,
    "students": students,
    "unlabelled": unlabelled,
    "photographs": photographs,
    "origins": origins,
    "defaults_small": defaults_small,
    "defaults_long": defaults_long,
    "defaults_depthwise": defaults_depthwise,
    "defaults_classes": defaults_classes,
    "defaults_photographs": defaults_photographs,
}
"""Experiments that are tables of accuracies; None where the setting lacks their data."""

"""The experiments by name."""

from collections.abc import Callable

from bench.results.experiments.capabilities import capabilities, students
from bench.results.experiments.experiment import Experiment, Setting
from bench.results.experiments.methods import methods
from bench.results.experiments.peers import peers

TABLES: dict[str, Callable[[Setting], Experiment | None]] = {
    "methods": methods,
    "peers": peers,
    "capabilities": capabilities,
    "students": students,
}
"""Experiments that are tables of accuracies; None where the setting lacks their data."""

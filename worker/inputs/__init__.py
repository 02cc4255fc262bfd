"""Turns the addresses in a spec into local paths."""

from worker.inputs.inputs import Inputs, Paths

__all__ = ["Inputs", "Paths"]

"""Resolves the URIs in a spec to local paths."""

from worker.inputs.inputs import Inputs, Paths

__all__ = ["Inputs", "Paths"]

"""Latency, memory and per-operator time of ONNX files in ONNX Runtime, measured in a process without PyTorch.

Imports neither the engine nor the service, so a board needs only this package to measure a student.
"""

from ttm_measure.process import Limits, compare, measure, profile
from ttm_measure.schema import MeasureError, Measurement, OperatorTime, Profile, Shape

__all__ = ["Limits", "MeasureError", "Measurement", "OperatorTime", "Profile", "Shape", "compare", "measure", "profile"]

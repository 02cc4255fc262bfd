"""Whether this machine's CPU has units for products of int8.

Without them, ONNX Runtime adds pairs of products in 16 bits on x86, which saturate, so that int8 files are less accurate.
"""

from pathlib import Path

_CPU = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""

HAS_INT8_UNITS = "avx2" not in _CPU or "vnni" in _CPU or "amx_int8" in _CPU

"""Runs the tests of `tests/gpu` without a GPU, on a simulated one: tensors whose device is `cuda:0`, with values that the
CPU computes.

It finds operations on tensors of both devices, and operations in a training step for which the CPU waits. It does not
find errors of kernels, streams, memory and drivers, and compiles nothing.
"""

"""Parses untrusted files in a separate process with hard limits on memory, time and written bytes.

The process imports neither PyTorch nor CUDA. It writes plain files (safetensors, .npy, unpacked members) that the run
reads.
"""

"""Copies of small tensors to the device of a run."""

import torch
from torch import Tensor


def copied_to(device: torch.device, tensor: Tensor) -> Tensor:
    """A CPU tensor on the device. The copy to a GPU is asynchronous: the CPU does not wait for the GPU's queue."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """Half precision as float32, the rest unchanged: a sum of exponentials over a wide spread of logits does not fit
    into 8 or 11 bits of mantissa."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def full_precision(tensor: Tensor) -> torch.autocast:
    """Switches autocast off on the tensor's device: it would round a matrix product's operands to half precision."""
    return torch.autocast(tensor.device.type, enabled=False)

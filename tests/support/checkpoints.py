"""Files of untrained teachers."""

import io

import torch

from tests.support.models import create_model


def checkpoint(architecture: str, num_classes: int) -> bytes:
    """The bytes of a state dict, as torch.save writes it."""
    stream = io.BytesIO()
    torch.save(create_model(architecture, num_classes=num_classes).state_dict(), stream)
    return stream.getvalue()

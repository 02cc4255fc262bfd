"""Exports the student as a program of `torch.export`, which PyTorch runs without the code of the model."""

import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ttm_core.export.onnx import FromPixels, largest_difference
from ttm_core.export.student import Student
from ttm_core.spec.structure import METADATA_KEY

_STACK_TRACE = "stack_trace"


def write_program(student: Student, path: Path, pixels: Tensor) -> float:
    """Writes a student on the CPU and compares the file with the student on the first and on all of `pixels`.

    The program takes float32 pixels in [0, 1], in batches of any size, and returns logits. Its extra file `ttm` has the
    student's description. Equal students give equal bytes with the same release of torch.

    Args:
        student: the student.
        path: the file to write.
        pixels: uint8 [B, C, H, W].

    Returns:
        The largest difference between the logits.

    Raises:
        LogitsDiffer: the difference exceeds 1e-4, relative to the largest logit where that is above 1.
    """
    preprocess = student.preprocess
    size = preprocess.image_size
    program = torch.export.export(
        FromPixels(student.model, preprocess.normalization).eval(),
        (torch.full((2, preprocess.channels, size, size), 0.5),),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    for module in program.graph_module.modules():
        for node in getattr(module, "graph", torch.fx.Graph()).nodes:
            node.meta.pop(_STACK_TRACE, None)  # has paths of this machine
    # PyTorch's own writer ends the process if the disk is full.
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={METADATA_KEY: json.dumps(student.description, sort_keys=True)})
    path.write_bytes(content.getbuffer())
    return largest_difference(student, load_program(path), pixels)


def load_program(path: Path) -> nn.Module:
    """The module of an exported program: float32 [B, C, H, W] pixels in [0, 1] -> [B, classes]."""
    return _Program(torch.export.load(path).module())


class _Program(nn.Module):
    """A program, which has no training mode to switch."""

    def __init__(self, program: Any) -> None:
        super().__init__()
        self._program = [program]

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self._program[0](image)
        return logits

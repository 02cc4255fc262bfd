"""Which image sizes an architecture can process."""

import torch

from ttm_core.errors import BadSpec, EngineError
from ttm_core.models.build import build
from ttm_core.models.macs import macs
from ttm_core.spec.structure import ModelStructure

# Multiples of the strides and windows of most architectures, up to what is usual.
SIZES = (8, 16, 24, 32, 48, 64, 80, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512)


def check_image_size(structure: ModelStructure, size: int, field: str) -> None:
    """Raises BadSpec if the model cannot process square images of `size` pixels: a patch or the kernel of a late layer
    does not fit, or windows do not divide the feature map.

    Args:
        structure: the model.
        size: side of the images in pixels.
        field: the field of the spec that sets the size.
    """
    # The report has this number anyway, so that the check costs nothing where it can be counted.
    if macs(structure, size) is not None or _processes(structure, size):
        return
    fitting = (other for other in SIZES if other > size and _processes(structure, other))
    larger = next(fitting, None)
    advice = (
        "Choose another architecture." if larger is None else f"Set {field} to a size that it can, such as {larger}."
    )
    raise BadSpec(f"{structure.architecture} cannot process images of {size} x {size} pixels. {advice}")


def _processes(structure: ModelStructure, size: int) -> bool:
    try:
        model = build(structure.model_copy(update={"image_size": size})).eval()
        with torch.inference_mode():
            model(torch.zeros(1, structure.in_chans, size, size))
    except EngineError:  # the structure is damaged
        raise
    except Exception:  # architectures fail with any exception, such as an assertion
        return False
    return True

"""How the int8 export is made."""

from typing import Annotated, Literal

from pydantic import Field

from ttm_core.spec.base import Spec


class QuantizeSpec(Spec):
    """Quantization of the export `onnx_int8`."""

    mode: Literal["none", "post_training", "aware", "auto"] = Field(
        "auto",
        description="post_training: calibrate the trained student in several ways and export the file that agrees best "
        "with the float32 student on validation images; layers that lose too much stay in float32. aware: then train "
        "the quantized student with the same method, and export it if its validation accuracy is higher. auto: aware "
        "only if post-training quantization loses more than `accept_drop` points of validation top-1, or changes the "
        "class of more than four times as many of up to 512 validation images. none: no int8 file, even if `exports` "
        "has `onnx_int8`; refused if it has nothing else.",
    )
    epochs: Annotated[int, Field(ge=1, le=1000)] = Field(3, description="Epochs of quantization-aware training.")
    accept_drop: Annotated[float, Field(ge=0, le=100)] = Field(
        0.5,
        description="Largest accepted loss of top-1 against the float32 file, in percentage points. A file that loses "
        "more is not recommended.",
    )

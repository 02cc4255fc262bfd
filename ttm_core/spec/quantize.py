"""How the int8 export is made."""

from typing import Annotated, Literal

from pydantic import Field

from ttm_core.spec.base import Spec


class QuantizeSpec(Spec):
    """Quantization of the export `onnx_int8`."""

    mode: Literal["none", "post_training"] = Field(
        "post_training",
        description="post_training: calibrate the trained student in several ways and export the file that agrees best "
        "with the float32 student on validation images; layers that lose too much stay in float32. none: no int8 file, "
        "even if `exports` has `onnx_int8`.",
    )
    accept_drop: Annotated[float, Field(ge=0, le=100)] = Field(
        0.5,
        description="Largest accepted loss of top-1 against the float32 file, in percentage points. A file that loses "
        "more is not recommended.",
    )

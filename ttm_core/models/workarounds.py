"""Workarounds for bugs in dependencies."""

from torch import Tensor, nn

from ttm_core.models.preprocess import format_of

# Channel block of oneDNN's kernels with AVX-512; smaller on older CPUs.
_CHANNEL_BLOCK = 16


def subsample_before_narrow_strided_pointwise(model: nn.Module) -> None:
    """Subsamples the input of strided 1x1 convolutions with few channels and sets their stride to 1. Outputs are equal.

    On x86 CPUs with channels-last memory, oneDNN's weight gradient of such a convolution writes past its workspace
    when the input channels do not fill a block, which causes wrong gradients or a crash
    (github.com/uxlfoundation/oneDNN/issues/6035; observed with torch 2.14.1 at 4 to 12 channels and 48 pixels and
    above, and on CPUs without AVX-512 at 4 channels and 16 pixels and above).
    """
    for module in model.modules():
        if (
            isinstance(module, nn.Conv2d)
            and module.padding in ((0, 0), "valid")
            and is_narrow_strided_pointwise(module.kernel_size, module.stride, module.in_channels)
        ):
            rows, columns = module.stride
            module.stride = (1, 1)
            module.register_forward_pre_hook(_Subsample(rows, columns))


class _Subsample:
    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns

    def __call__(self, module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        (x,) = inputs
        return subsample(x, self.rows, self.columns)


def is_narrow_strided_pointwise(kernel: tuple[int, ...], stride: tuple[int, ...], channels: int) -> bool:
    """Whether it is a strided 1x1 convolution whose input channels do not fill the blocks of oneDNN's kernels."""
    return kernel == (1, 1) and stride != (1, 1) and channels % _CHANNEL_BLOCK != 0


def subsample(x: Tensor, rows: int, columns: int) -> Tensor:
    """Every `rows`-th row and `columns`-th column of [B, C, H, W], in its memory format."""
    return x[:, :, ::rows, ::columns].contiguous(memory_format=format_of(x))

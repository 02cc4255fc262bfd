"""Trees of tensors are packed into one buffer and come back as they were."""

from dataclasses import dataclass

import torch

from ttm_core.transfer import pack, stage


@dataclass(frozen=True)
class Inner:
    values: torch.Tensor
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Tree:
    pixels: torch.Tensor | None
    parts: tuple[Inner, ...]
    share: float


def tree() -> Tree:
    transposed = torch.arange(24, dtype=torch.float64).view(4, 6).T
    return Tree(
        pixels=torch.arange(7, dtype=torch.uint8),
        parts=(
            Inner(torch.tensor([[-1, 2**40]]), (3, 4)),
            Inner(transposed, ()),
            Inner(torch.tensor([True, False]), (1,)),
            Inner(torch.empty(0, 3, dtype=torch.float32), (2,)),
        ),
        share=0.5,
    )


def test_tensors_come_back_with_their_types_shapes_and_values() -> None:
    expected, packed = tree(), pack(tree())
    assert packed.buffer.dtype is torch.uint8
    seen = packed.on(torch.device("cpu"))
    assert seen.share == 0.5
    assert [part.counts for part in seen.parts] == [(3, 4), (), (1,), (2,)]
    assert seen.pixels is not None
    assert expected.pixels is not None
    pairs = [(seen.pixels, expected.pixels)]
    pairs += [(first.values, second.values) for first, second in zip(seen.parts, expected.parts, strict=True)]
    for first, second in pairs:
        assert first.dtype is second.dtype
        assert torch.equal(first, second)
        # One copy moves all of them.
        assert first.untyped_storage().data_ptr() == packed.buffer.untyped_storage().data_ptr()


def test_a_tree_may_lack_tensors() -> None:
    assert pack(Tree(None, (), 1.0)).on(torch.device("cpu")) == Tree(None, (), 1.0)


def test_nothing_is_copied_for_a_cpu() -> None:
    value = tree()
    assert stage(value, torch.device("cpu"))() is value

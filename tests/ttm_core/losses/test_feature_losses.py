"""ITRD, CRD with its negatives, and ViTKD beyond the reference vectors: edges, state and determinism."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ttm_core.losses import Crd, Itrd, NegativeSampler, VitKd, random_token_mask


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed))


def crd_loss(student: Tensor, teacher: Tensor) -> Tensor:
    torch.manual_seed(0)
    crd = Crd(student.shape[1], teacher.shape[1], samples=50, dim=8)
    return crd(student, teacher, torch.arange(len(student)), torch.arange(20, 40).expand(len(student), -1))


def itrd_loss(student: Tensor, teacher: Tensor) -> Tensor:
    torch.manual_seed(0)
    return Itrd(student.shape[1], teacher.shape[1], alpha=1.5)(student, teacher)


@pytest.mark.parametrize("loss", [crd_loss, itrd_loss])
class TestPooledFeatures:
    def test_teacher_gets_no_gradient(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        student, teacher = features(6, 12).requires_grad_(), features(6, 20, seed=1).requires_grad_()
        loss(student, teacher).backward()
        assert student.grad is not None
        assert student.grad.abs().max() > 0
        assert teacher.grad is None

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision(self, loss: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
        student, teacher = features(6, 12).to(dtype), features(6, 20, seed=1).to(dtype)
        found = loss(student, teacher)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, loss(student.float(), teacher.float()))

    def test_autocast_does_not_round(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        student, teacher = features(6, 12), features(6, 20, seed=1)
        with torch.autocast("cpu", torch.bfloat16):
            inside = loss(student, teacher)
        assert torch.equal(inside, loss(student, teacher))


def test_itrd_weighs_its_terms() -> None:
    itrd = Itrd(12, 20, alpha=1.01, beta_correlation=3, beta_mutual=0.5)
    student, teacher = features(6, 12), features(6, 20, seed=1)
    expected = 3 * itrd.correlation(student, teacher) + 0.5 * itrd.mutual(student, teacher)
    assert torch.equal(itrd(student, teacher), expected)


def test_itrd_is_finite_for_dead_features() -> None:
    itrd = Itrd(12, 20, alpha=1.5)
    student, teacher = features(6, 12).requires_grad_(), features(6, 20, seed=1)
    teacher[:, :3] = 0
    with torch.no_grad():
        itrd.embed.weight[5:7] = 0
    loss = itrd(student, teacher)
    assert loss.isfinite()
    assert torch.autograd.grad(loss, student)[0].isfinite().all()


def test_itrd_requires_two_samples() -> None:
    with pytest.raises(ValueError, match="two or more"):
        Itrd(12, 20, alpha=1.5)(features(1, 12), features(1, 20))


@pytest.mark.parametrize(
    ("student", "teacher"), [((6, 11), (6, 20)), ((6, 12), (6, 19)), ((6, 12), (5, 20)), ((6, 12, 1), (6, 20))]
)
def test_widths_are_checked(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    crd = Crd(12, 20, samples=50)
    with pytest.raises(ValueError, match=r"\[B, D\] with widths 12 and 20"):
        Itrd(12, 20, alpha=1.5)(features(*student), features(*teacher))
    with pytest.raises(ValueError, match=r"\[B, D\] with widths 12 and 20"):
        crd(features(*student), features(*teacher), torch.arange(6), torch.zeros(6, 4).long())


def train_crd(crd: Crd, sampler: NegativeSampler, steps: range) -> list[float]:
    optimizer = torch.optim.SGD(crd.parameters(), 0.1)
    losses = []
    for step in steps:
        indices = torch.arange(step * 4, step * 4 + 4)
        negatives = sampler.draw(indices, generator(step))
        loss = crd(features(4, 12, seed=step), features(4, 20, seed=100 + step), indices, negatives)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_crd_resumes_bit_identically() -> None:
    sampler = NegativeSampler(torch.arange(50) % 3, count=16)
    torch.manual_seed(0)
    whole = Crd(12, 20, samples=50)
    first = Crd(12, 20, samples=50)
    first.load_state_dict(whole.state_dict())
    expected = train_crd(whole, sampler, range(6))

    found = train_crd(first, sampler, range(3))
    resumed = Crd(12, 20, samples=50)
    resumed.load_state_dict(first.state_dict())
    found += train_crd(resumed, sampler, range(3, 6))
    assert found == expected
    assert all(torch.equal(resumed.state_dict()[name], value) for name, value in whole.state_dict().items())


def test_crd_updates_memory_in_training_mode_only() -> None:
    crd = Crd(12, 20, samples=50)
    before = crd.student_memory.clone()
    arguments = (features(4, 12), features(4, 20), torch.arange(4), torch.arange(10, 30).expand(4, -1))
    crd.eval()(*arguments)
    assert torch.equal(crd.student_memory, before)
    assert crd.student_normalizer == 0
    crd.train()(*arguments)
    assert torch.equal(crd.student_memory[4:], before[4:])
    torch.testing.assert_close(crd.student_memory[:4].norm(dim=1), torch.ones(4))


def test_crd_accumulates_over_two_batches() -> None:
    crd = Crd(12, 20, samples=50)
    negatives = torch.arange(10, 30).expand(4, -1)
    losses = [crd(features(4, 12, seed=i), features(4, 20), torch.arange(4), negatives) for i in range(2)]
    sum(losses).backward()
    assert crd.embed_student.weight.grad is not None


@pytest.mark.parametrize(("indices", "negatives"), [((3,), (4, 8)), ((4,), (3, 8)), ((4,), (32,))])
def test_crd_checks_its_indices(indices: tuple[int, ...], negatives: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="negatives"):
        Crd(12, 20, samples=50)(
            features(4, 12), features(4, 20), torch.zeros(indices).long(), torch.zeros(negatives).long()
        )


class TestNegatives:
    labels = torch.randint(7, (200,), generator=generator())

    def test_negatives_have_other_classes_and_do_not_repeat(self) -> None:
        indices = torch.arange(0, 200, 9)
        drawn = NegativeSampler(self.labels, count=100).draw(indices, generator())
        assert drawn.shape == (len(indices), 100)
        assert (self.labels[drawn] != self.labels[indices].unsqueeze(1)).all()
        assert all(len(set(row)) == 100 for row in drawn.tolist())

    def test_negatives_repeat_if_there_are_too_few(self) -> None:
        drawn = NegativeSampler(self.labels, count=500).draw(torch.tensor([0]), generator())
        assert (self.labels[drawn] != self.labels[0]).all()
        assert set(drawn[0].tolist()) <= set(range(200))

    def test_negatives_include_every_sample_of_other_classes(self) -> None:
        others = (self.labels != self.labels[3]).nonzero().squeeze(1)
        drawn = NegativeSampler(self.labels, count=len(others)).draw(torch.tensor([3]), generator())
        assert sorted(drawn[0].tolist()) == others.tolist()

    def test_negatives_depend_on_the_generator_only(self) -> None:
        sampler = NegativeSampler(self.labels, count=50)
        indices = torch.arange(8)
        assert torch.equal(sampler.draw(indices, generator(1)), sampler.draw(indices, generator(1)))
        assert not torch.equal(sampler.draw(indices, generator(1)), sampler.draw(indices, generator(2)))

    def test_each_unlabelled_sample_is_its_own_class(self) -> None:
        drawn = NegativeSampler(torch.arange(20), count=19).draw(torch.tensor([5]), generator())
        assert sorted(drawn[0].tolist()) == [*range(5), *range(6, 20)]

    def test_negatives_require_two_classes(self) -> None:
        with pytest.raises(ValueError, match="same class"):
            NegativeSampler(torch.zeros(10), count=3)


def made_tokens(dim: int, seed: int, batch: int = 3, tokens: int = 9) -> list[Tensor]:
    return list(torch.randn(3, batch, tokens, dim, dtype=torch.float64, generator=generator(seed)))


def test_vitkd_by_definition() -> None:
    from scipy.signal import correlate2d  # here: takes half a second, in every process that collects tests

    torch.manual_seed(0)
    vitkd = VitKd(4, 5, alpha=0.3, beta=0.7).double()
    nn.init.normal_(vitkd.mask_token)
    student, teacher = made_tokens(4, 0), made_tokens(5, 1)
    masked = random_token_mask(3, 9, ratio=0.5, generator=generator())

    def affine(layer: nn.Module, x: np.ndarray) -> np.ndarray:
        assert isinstance(layer, nn.Linear)
        return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    def convolve(layer: nn.Module, x: np.ndarray) -> np.ndarray:
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        kernels, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        return np.stack(
            [
                sum(correlate2d(x[i], k[i], "same") for i in range(len(x))) + b
                for k, b in zip(kernels, bias, strict=True)
            ]
        )

    low = sum(
        ((affine(align, own.numpy()) - given.numpy()) ** 2).sum()
        for align, own, given in zip(vitkd.align_low, student[:2], teacher[:2], strict=True)
    )
    high = 0.0
    for own, given, chosen in zip(student[2].numpy(), teacher[2].numpy(), masked.numpy(), strict=True):
        seen = affine(vitkd.align_high, own)
        seen[chosen] = vitkd.mask_token.detach().numpy()
        image = seen.T.reshape(5, 3, 3)
        generated = convolve(vitkd.generation[2], np.maximum(convolve(vitkd.generation[0], image), 0))
        high += ((generated.reshape(5, 9).T - given)[chosen] ** 2).sum()
    found = vitkd(student, teacher, masked)
    assert found.item() == pytest.approx((0.3 * low + 0.7 * high / 0.5) / 3, rel=1e-12)


def test_vitkd_of_equal_widths_needs_no_alignment() -> None:
    vitkd = VitKd(5, 5, beta=0)
    tokens = [side.float() for side in made_tokens(5, 0)]
    assert not [name for name in vitkd.state_dict() if name.startswith("align")]
    assert vitkd(tokens, tokens, random_token_mask(3, 9, ratio=0.5, generator=generator())).item() == 0


def test_vitkd_gives_the_teacher_no_gradient() -> None:
    student = [side.float().requires_grad_() for side in made_tokens(4, 0)]
    teacher = [side.float().requires_grad_() for side in made_tokens(5, 1)]
    VitKd(4, 5)(student, teacher, random_token_mask(3, 9, ratio=0.5, generator=generator())).backward()
    assert all(side.grad is not None for side in student)
    assert all(side.grad is None for side in teacher)


@pytest.mark.parametrize(("tokens", "match"), [(8, "square"), (4, "mask is")])
def test_vitkd_checks_its_tokens(tokens: int, match: str) -> None:
    sides = [[side.float() for side in made_tokens(dim, 0, tokens=tokens)] for dim in (4, 5)]
    with pytest.raises(ValueError, match=match):
        VitKd(4, 5)(*sides, random_token_mask(3, 9, ratio=0.5, generator=generator()))


def test_vitkd_requires_three_blocks() -> None:
    student, teacher = made_tokens(4, 0)[:2], made_tokens(5, 1)[:2]
    with pytest.raises(ValueError, match="blocks"):
        VitKd(4, 5).double()(student, teacher, random_token_mask(3, 9, ratio=0.5, generator=generator()))


@pytest.mark.parametrize(("tokens", "ratio", "masked"), [(196, 0.5, 98), (9, 0.5, 5), (16, 0.25, 4)])
def test_token_masks(tokens: int, ratio: float, masked: int) -> None:
    drawn = random_token_mask(6, tokens, ratio=ratio, generator=generator())
    assert drawn.sum(1).tolist() == [masked] * 6
    assert len({tuple(row) for row in drawn.tolist()}) > 1
    assert torch.equal(drawn, random_token_mask(6, tokens, ratio=ratio, generator=generator()))

"""DIST, ITRD and CRD against `feature_losses.npz`, which the official codes computed in float64."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ttm_core.losses import Crd, Itrd, dist

VECTORS = {
    name: torch.from_numpy(np.asarray(array))
    for name, array in np.load(Path(__file__).parents[2] / "data" / "reference" / "feature_losses.npz").items()
}


def assert_equal(found: Tensor, name: str) -> None:
    expected = VECTORS[name].reshape(found.shape)
    assert (found.detach() - expected).abs().max() <= 1e-10 * expected.abs().max(), name


@pytest.mark.parametrize("temperature", [1, 4])
def test_dist(temperature: int) -> None:
    z = VECTORS["A_64x100__student_logits"].clone().requires_grad_()
    loss = dist(z, VECTORS["A_64x100__teacher_logits"], temperature=temperature)
    assert_equal(loss, f"A_64x100__dist_tau{temperature}__loss")
    assert_equal(torch.autograd.grad(loss, z)[0], f"A_64x100__dist_tau{temperature}__grad")


@pytest.mark.parametrize("term", ["correlation", "mutual"])
@pytest.mark.parametrize("case", ["same_a1.01", "same_a1.5", "diff_a1.01", "diff_a1.5"])
def test_itrd(case: str, term: str) -> None:
    name = f"ITRD_{case}__"
    student, teacher = VECTORS[f"{name}fs"].clone().requires_grad_(), VECTORS[f"{name}ft"]
    itrd = Itrd(student.shape[1], teacher.shape[1], alpha=float(case.partition("_a")[2])).double()
    itrd.embed.load_state_dict({"weight": VECTORS[f"{name}embed_w"], "bias": VECTORS[f"{name}embed_b"]})
    loss = getattr(itrd, term)(student, teacher)
    assert_equal(loss, f"{name}{term}__loss")

    by_features, by_embedding = torch.autograd.grad(loss, [student, itrd.embed.weight], allow_unused=True)
    assert_equal(by_features, f"{name}{term}__grad_fs")
    if term == "mutual" and case.startswith("same"):
        assert by_embedding is None
    else:
        assert_equal(by_embedding, f"{name}{term}__grad_embed_w")


def test_crd_over_two_steps() -> None:
    # The official code holds the temperature in float32.
    negatives, temperature, _, _, momentum = VECTORS["CRD__params_before"].tolist()
    crd = Crd(24, 40, samples=200, dim=16, temperature=temperature, momentum=momentum).double()
    state = crd.state_dict()
    for ours, theirs in {"embed_student": "embed_s", "embed_teacher": "embed_t"}.items():
        state |= {f"{ours}.weight": VECTORS[f"CRD__{theirs}_w"], f"{ours}.bias": VECTORS[f"CRD__{theirs}_b"]}
    memories = {"student_memory": "memory_v1", "teacher_memory": "memory_v2"}
    state |= {ours: VECTORS[f"CRD__{theirs}_before"] for ours, theirs in memories.items()}
    crd.load_state_dict(state)
    student = VECTORS["CRD__fs"].clone().requires_grad_()
    contrasted = VECTORS["CRD__contrast_idx"]
    assert contrasted.shape[1] == negatives + 1

    for step in ("step1", "step2"):
        loss = crd(student, VECTORS["CRD__ft"], VECTORS["CRD__idx"], contrasted[:, 1:])
        assert_equal(loss, f"CRD__{step}__loss")
        inputs = {"fs": student, "embed_s_w": crd.embed_student.weight, "embed_t_w": crd.embed_teacher.weight}
        for name, gradient in zip(inputs, torch.autograd.grad(loss, list(inputs.values())), strict=True):
            assert_equal(gradient, f"CRD__{step}__grad_{name}")
        for ours, theirs in memories.items():
            assert_equal(crd.get_buffer(ours), f"CRD__{step}__{theirs}_after")
    normalizers = torch.stack([crd.student_normalizer, crd.teacher_normalizer])
    torch.testing.assert_close(normalizers, VECTORS["CRD__params_after"][2:4], rtol=1e-10, atol=0)

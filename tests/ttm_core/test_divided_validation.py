"""The processes of a run divide the validation images, and each gets the result of all."""

import os
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.fork_server import CONTEXT
from tests.ttm_core.factories import digits
from ttm_core.data.dataset import Split, full_split
from ttm_core.data.images import ArrayImages
from ttm_core.models.preprocess import Preprocess
from ttm_core.spec.events import Accuracy
from ttm_core.spec.normalization import Normalization
from ttm_core.training.distributed import ONE_PROCESS, Distributed, init_distributed
from ttm_core.training.evaluate import evaluate

PROCESSES = 2
HANG = 600  # seconds


def split_of(images: int) -> Split:
    pixels, labels = digits()
    return full_split(ArrayImages(torch.tensor(pixels[:images])[:, None]), torch.tensor(labels[:images]))


def student() -> nn.Module:
    """Classifies by running statistics of a batch norm, which are those of the main process after training."""
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()


def accuracy_of(model: nn.Module, images: int, distributed: Distributed = ONE_PROCESS) -> Accuracy:
    preprocess = Preprocess(1, 8, Normalization(mean=[0.3], std=[0.4]))
    device = torch.device("cpu")
    return evaluate(model, split_of(images), preprocess, size=8, device=device, distributed=distributed)


def run_process(rank: int, rendezvous: str, images: int, results: "Queue[Any]") -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(PROCESSES), "TTM_RENDEZVOUS": rendezvous}
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    model = student()
    model[0].running_mean.fill_(rank)
    seen: list[int] = []
    model[0].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    with init_distributed(PROCESSES) as distributed:
        distributed.broadcast_buffers(model)
        accuracy = accuracy_of(model, images, distributed)
    results.put((rank, accuracy, sum(seen)))


@pytest.mark.parametrize(("images", "shares"), [(601, (300, 301)), (1, (0, 1))])
def test_each_process_evaluates_its_share(images: int, shares: tuple[int, int], tmp_path: Path) -> None:
    expected = accuracy_of(student(), images)
    results: Queue[Any] = CONTEXT.Queue()
    arguments = (f"file://{tmp_path / 'rendezvous'}", images, results)
    processes = [CONTEXT.Process(target=run_process, args=(rank, *arguments)) for rank in range(PROCESSES)]
    for process in processes:
        process.start()
    found = sorted(results.get(timeout=HANG) for _ in processes)
    for process in processes:
        process.join(HANG)
        assert process.exitcode == 0
    for (_, accuracy, seen), share in zip(found, shares, strict=True):
        assert seen == share
        assert accuracy.images == images
        assert accuracy.top1 == expected.top1
        assert accuracy.loss == pytest.approx(expected.loss, rel=1e-6)

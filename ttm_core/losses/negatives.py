import torch
from torch import Tensor


class NegativeSampler:
    """Draws for each sample others to tell it from: images of other classes, without repetition where there are enough.

    Args:
        labels: [N] class index of every training sample. Unlabelled data has `torch.arange(N)`, each its own class.
        count: K, how many to draw for each sample.

    Raises:
        ValueError: all samples are of one class.
    """

    def __init__(self, labels: Tensor, count: int) -> None:
        self._count = count
        self._labels = labels.long()
        sizes = torch.bincount(self._labels)
        if sizes.max() == len(labels):
            raise ValueError("all samples are of one class; there is none to tell them from")
        # With the samples in the order of their classes, those of other classes follow the end of a class, around.
        self._by_class = self._labels.argsort(stable=True)
        self._ends = sizes.cumsum(0)
        self._others = (len(labels) - sizes).tolist()

    def draw(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """[B] places in the training set -> [B, K] places of samples of other classes, on the CPU.

        The same state of `generator` gives the same draw.
        """
        classes = self._labels[indices]
        steps = torch.stack([self._steps(self._others[label], generator) for label in classes.tolist()])
        return self._by_class[(self._ends[classes].unsqueeze(1) + steps) % len(self._labels)]

    def _steps(self, others: int, generator: torch.Generator) -> Tensor:
        if others < self._count:
            return torch.randint(others, (self._count,), generator=generator)
        return torch.randperm(others, generator=generator)[: self._count]

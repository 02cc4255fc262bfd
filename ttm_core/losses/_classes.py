import torch
from torch import Tensor


def non_target_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, C] logits without those of the [B, 1] labels: [B, C - 1], in the order of the classes.

    Raises:
        ValueError: there is one class only.
    """
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError("logits have one class; a loss over the other classes needs two or more")
    others = torch.arange(classes - 1, device=logits.device)
    return logits.gather(1, others + (others >= labels))


def target_log_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """[B, C] logits -> [B, 2]: the log-probability of the target, and that of all the other classes together."""
    target = logits.gather(1, labels)
    others = non_target_logits(logits, labels).logsumexp(dim=1, keepdim=True)
    return torch.cat([target, others], dim=1).log_softmax(dim=1)

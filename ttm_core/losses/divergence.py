import torch.nn.functional as F
from torch import Tensor


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each row, in nats.

    Args:
        log_p: [B, C] log-probabilities of the target distribution.
        log_q: [B, C] log-probabilities of the approximation.

    Returns:
        [B].
    """
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)

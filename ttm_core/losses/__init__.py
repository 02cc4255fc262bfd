"""Distillation losses on logits [B, C] and on features, averaged over the batch, in float32 or wider."""

from ttm_core.losses.dist import dist
from ttm_core.losses.dkd import dkd
from ttm_core.losses.features.crd import Crd, NegativeSampler
from ttm_core.losses.features.itrd import Itrd
from ttm_core.losses.features.vitkd import VitKd, random_token_mask
from ttm_core.losses.kd import kd, kl_divergence
from ttm_core.losses.logit_standardization import standardize_logits
from ttm_core.losses.nkd import nkd
from ttm_core.losses.wkd import cka_interrelations, cosine_interrelations, transport_costs, wkd_l
from ttm_core.losses.wttm import power_sum, ttm, wttm

__all__ = [
    "Crd",
    "Itrd",
    "NegativeSampler",
    "VitKd",
    "cka_interrelations",
    "cosine_interrelations",
    "dist",
    "dkd",
    "kd",
    "kl_divergence",
    "nkd",
    "power_sum",
    "random_token_mask",
    "standardize_logits",
    "transport_costs",
    "ttm",
    "wkd_l",
    "wttm",
]

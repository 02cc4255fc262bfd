"""Distillation losses on [B, C] logits and on features, each the mean over the batch, in float32 or wider."""

from ttm_core.losses.crd import Crd
from ttm_core.losses.dist import dist
from ttm_core.losses.divergence import kl_divergence
from ttm_core.losses.dkd import dkd
from ttm_core.losses.itrd import Itrd
from ttm_core.losses.kd import kd
from ttm_core.losses.negatives import NegativeSampler
from ttm_core.losses.nkd import nkd
from ttm_core.losses.standardise import standardise_logits
from ttm_core.losses.ttm import ttm
from ttm_core.losses.vitkd import VitKd, random_token_mask
from ttm_core.losses.wkd_l import cka_interrelations, cosine_interrelations, transport_costs, wkd_l
from ttm_core.losses.wttm import power_sum, wttm

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
    "standardise_logits",
    "transport_costs",
    "ttm",
    "wkd_l",
    "wttm",
]

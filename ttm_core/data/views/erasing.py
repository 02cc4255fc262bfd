"""Random erasing, Zhong et al. 2020 (arXiv 1708.04896): a rectangle of a view is replaced by noise."""

import math

import torch

from ttm_core.data.views.draws import Draws, Stream
from ttm_core.spec.dataset import RandomErasing


def erase(pixels: torch.Tensor, spec: RandomErasing, draws: Draws) -> torch.Tensor:
    """Fills a rectangle of some of the images, uint8 [B, C, H, W], with uniform noise.

    The paper retries until a rectangle fits. Here, too long rectangles are clipped, so that every view needs the same
    number of draws.
    """
    erased = draws.uniform(Stream.ERASE) < spec.probability
    if not erased.any():
        return pixels
    channels, height, width = pixels.shape[1:]
    area, aspect = draws.uniform(Stream.ERASE_AREA), draws.uniform(Stream.ERASE_ASPECT)
    row, column = draws.uniform(Stream.ERASE_ROW), draws.uniform(Stream.ERASE_COLUMN)
    pixels = pixels.clone()
    for i in erased.nonzero()[0].tolist():
        target = (spec.min_area + area[i] * (spec.max_area - spec.min_area)) * height * width
        ratio = math.exp((2 * aspect[i] - 1) * math.log(spec.max_aspect))
        tall = min(max(round(math.sqrt(target * ratio)), 1), height)
        wide = min(max(round(math.sqrt(target / ratio)), 1), width)
        top, left = int(row[i] * (height - tall + 1)), int(column[i] * (width - wide + 1))
        noise = draws.noise(Stream.ERASE_NOISE, i, (channels, tall, wide))
        pixels[i, :, top : top + tall, left : left + wide] = torch.from_numpy(noise)
    return pixels

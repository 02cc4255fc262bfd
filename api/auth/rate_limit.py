"""How often a key may ask: a bucket of tokens for each, in this process."""

import time
from collections import OrderedDict

_BURST_SECONDS = 10.0
_KEPT = 10_000


class RateLimit:
    """`per_second` tokens flow into each bucket, which holds ten seconds' worth; a request takes one."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._size = max(1.0, per_second * _BURST_SECONDS)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str) -> float:
        """Seconds until the named caller may ask; 0.0 if it may now, which takes a token."""
        now = time.monotonic()
        tokens, since = self._buckets.pop(name, (self._size, now))
        tokens = min(self._size, tokens + (now - since) * self._per_second)
        allowed = tokens >= 1
        self._buckets[name] = (tokens - 1 if allowed else tokens, now)
        while len(self._buckets) > _KEPT:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self._per_second

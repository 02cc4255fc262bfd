"""Work of a few threads over many items."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_AHEAD = 1024


def in_turn(pool: ThreadPoolExecutor, call: Callable[[int], _T], count: int) -> Iterator[_T]:
    """What `call` says of 0 to `count` - 1, in order. An executor's own map holds a future for every item at once."""
    for start in range(0, count, _AHEAD):
        yield from pool.map(call, range(start, min(start + _AHEAD, count)))

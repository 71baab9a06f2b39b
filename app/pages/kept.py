"""Caches what was read from stored files and is the same for all viewers, by the content's hash; drops the least recently used entries.

Every request checks access to a file before it uses this cache.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar, cast

T = TypeVar("T")
MOST = 64
"""The number of entries that stay cached. An entry is a part of a page, or the runs or answers of a steering."""
_kept: OrderedDict[Hashable, object] = OrderedDict()


async def kept(key: Hashable, made: Callable[[], Awaitable[T]]) -> T:
    """Returns the cached result of `made` for this key, which must name everything that the result depends on. Callers must not change it."""
    if key not in _kept:
        _kept[key] = await made()
        while len(_kept) > MOST:
            _kept.popitem(last=False)
    else:
        _kept.move_to_end(key)
    return cast(T, _kept[key])


def forget() -> None:
    """Clears the cache."""
    _kept.clear()

"""What was read from stored files and is the same for all who ask: kept by the content's hash, the least recently used forgotten first.

Whether somebody may see a file is asked before, at each request; here is only what the file says.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar, cast

T = TypeVar("T")
MOST = 64
"""Things that are kept: the parts of a page or the answers of a run, some 100 kB each, 2 MB at most."""
_kept: OrderedDict[Hashable, object] = OrderedDict()


async def kept(key: Hashable, made: Callable[[], Awaitable[T]]) -> T:
    """What `made` returned for this key, which must name all that it depends on."""
    if key not in _kept:
        _kept[key] = await made()
        while len(_kept) > MOST:
            _kept.popitem(last=False)
    else:
        _kept.move_to_end(key)
    return cast(T, _kept[key])


def forget() -> None:
    """Forgets everything."""
    _kept.clear()

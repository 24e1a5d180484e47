"""Values kept while they are asked for: what is computed of several runs at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Held:
    """The last ``limit`` values by key, each computed once for all who ask at the same time."""

    def __init__(self, limit: int = 48) -> None:
        self._limit = limit
        self._lock = threading.RLock()
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of ``key``, made now if it is not held."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            self._values.move_to_end(key)
            while len(self._values) > self._limit:
                self._values.popitem(last=False)
            value: T = self._values[key]
            return value

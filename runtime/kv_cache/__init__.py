"""Keys and values of the tokens that sequences have seen."""

from slipstream.runtime.kv_cache.kv_cache import CacheFullError, KVCache, pages_for
from slipstream.runtime.kv_cache.row_placement import RowPlacement

__all__ = ["CacheFullError", "KVCache", "RowPlacement", "pages_for"]

# The C half of the json package, which is free to import where json costs 4-8 ms.
from collections.abc import Callable
from typing import Any

def encode_basestring(text: str, /) -> str: ...
def make_scanner(context: object, /) -> Callable[[str, int], tuple[Any, int]]: ...
def make_encoder(
    markers: dict[int, Any] | None,
    default: Callable[[Any], Any],
    encoder: Callable[[str], str],
    indent: None,
    key_separator: str,
    item_separator: str,
    sort_keys: bool,
    skipkeys: bool,
    allow_nan: bool,
    /,
) -> Callable[[Any, int], tuple[str, ...]]: ...

"""Small frozen records, cheap to import.

``dataclasses`` costs 9-16 ms at start-up (it pulls in ``inspect`` and ``re``); this module costs nothing. Type checkers treat a
:class:`Record` as a frozen dataclass through ``dataclass_transform``.

Hot-path module: imports nothing at run time.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

    _T = TypeVar("_T")
else:

    def dataclass_transform(**_options):
        return lambda cls: cls


@dataclass_transform(frozen_default=True, eq_default=True)
class Record:
    """Base of immutable value objects.

    Fields are the class annotations in order, base classes first; class attributes are their defaults. A mutable default is
    shared between all instances, so use tuples. ``__post_init__`` may validate.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        fields = list(cls._fields)
        defaults = dict(cls._defaults)
        annotations = vars(cls).get("__annotations__", {})
        for name, annotation in annotations.items():
            if name.startswith("__") or "ClassVar" in str(annotation):
                continue
            if name not in fields:
                fields.append(name)
            if name in cls.__dict__:
                defaults[name] = cls.__dict__[name]
        cls._fields = tuple(fields)
        cls._defaults = defaults

    if not TYPE_CHECKING:

        def __init__(self, *args, **kwargs):
            values = self.__dict__
            fields = self._fields
            if len(args) > len(fields):
                raise TypeError(f"{type(self).__name__} takes {len(fields)} values, got {len(args)}")
            values.update(zip(fields, args, strict=False))
            for name in fields[len(args) :]:
                if name in kwargs:
                    values[name] = kwargs.pop(name)
                elif name in self._defaults:
                    values[name] = self._defaults[name]
                else:
                    raise TypeError(f"{type(self).__name__} needs a value for {name}")
            if kwargs:
                raise TypeError(f"{type(self).__name__} has no field {next(iter(kwargs))}, or it was given twice")
            self.__post_init__()

    def __post_init__(self) -> None:
        """Hook for validation."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *(self.__dict__[name] for name in self._fields)))

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._fields)
        return f"{type(self).__name__}({inside})"

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        values = {name: self.__dict__[name] for name in self._fields}
        values.update(changes)
        return type(self)(**values)

"""The messages of rkt's API, ``v1alpha``."""

from __future__ import annotations

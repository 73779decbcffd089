"""Isolation of an app: plans as data (operations with ``describe()`` and ``execute()``), and what computes them."""

"""The networks of a pod, through CNI plugins: which ones, setting them up, taking them down, checking them.

A stage1 uses ``selection`` (what ``--net`` means), ``set_up``, ``tear_down`` and ``check``.
"""

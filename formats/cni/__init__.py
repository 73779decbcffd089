"""The documents of CNI, the Container Network Interface: configurations, results, errors, and what is remembered of them.

Source: containernetworking/cni ``SPEC.md`` 0.1.0 to 1.1.0, and libcni for what the text leaves open.
"""

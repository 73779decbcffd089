# What rktpy uses of systemd-python, which ships no types.

"""What stage1s have in common: the pod that they are to run, its limits, its networks and its end."""

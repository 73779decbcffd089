"""Control groups: v1, hybrid and v2 behind one interface. What is not mounted here is not there."""

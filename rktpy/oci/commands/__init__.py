"""One module per command of the runtime; each has ``run(arguments)``, which gives the exit status."""

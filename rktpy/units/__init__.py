"""Pods as units of the host's systemd: unit files that run them, files that describe them, updates of their images."""

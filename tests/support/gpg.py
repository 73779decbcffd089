"""OpenPGP keys and signatures made by the real gpg, in a home of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class Gpg:
    """A throw-away GnuPG home. Call :meth:`close` to end its agent."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(mode=0o700, parents=True)

    def __call__(self, *args: str, stdin: bytes | None = None) -> bytes:
        environment = {**os.environ, "GNUPGHOME": str(self.home)}
        argv = ["gpg", "--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", *args]
        return subprocess.run(argv, input=stdin, env=environment, check=True, capture_output=True, timeout=60).stdout

    def key(self, name: str, expire: str = "never", algorithm: str = "ed25519") -> str:
        """Make a signing key; its lower-case fingerprint."""
        self("--quick-generate-key", f"{name} <{name}@example.com>", algorithm, "sign", expire)
        return self.fingerprint(name)

    def fingerprint(self, name: str) -> str:
        for line in self("--with-colons", "--list-keys", f"{name}@example.com").decode().splitlines():
            if line.startswith("fpr:"):
                return line.split(":")[9].lower()
        raise AssertionError(f"no key {name}")

    def export(self, name: str, armor: bool = True) -> bytes:
        return self(*(["--armor"] if armor else []), "--export", f"{name}@example.com")

    def sign(self, path: Path, *names: str, armor: bool = True, options: tuple[str, ...] = ()) -> bytes:
        """A detached signature by each of ``names``."""
        users = [word for name in names for word in ("--local-user", f"{name}@example.com")]
        return self(*options, *users, *(["--armor"] if armor else []), "--output", "-", "--detach-sign", str(path))

    def close(self) -> None:
        subprocess.run(["gpgconf", "--kill", "all"], env={**os.environ, "GNUPGHOME": str(self.home)}, check=False)

"""Those who read logs: how many there may be, and how one who waits for a pod's next line learns that nobody wants it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from rktpy.errors import RktpyError

if TYPE_CHECKING:
    from types import TracebackType


class Busy(RktpyError):
    """There are as many as there may be."""


class Follower:
    """One of them. ``fd`` becomes readable when it shall end."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()

    def hang_up(self) -> None:
        """Make it end. May be called from any thread, also after it has ended."""
        with self._lock:
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        """Give the descriptor back."""
        with self._lock:
            fd, self.fd = self.fd, -1
            os.close(fd)


class Followers:
    """All of them, at most ``most``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._present: set[Follower] = set()
        self._closed = False

    def place(self) -> Place:
        """A place for one more, to be used as a context manager, which raises Busy when there is none."""
        return Place(self)

    def hang_up(self) -> None:
        """Make all end, and those that come later."""
        with self._lock:
            self._closed = True
            for follower in self._present:
                follower.hang_up()

    def enter(self) -> Follower:
        """Take a place. Raises Busy."""
        with self._lock:
            if len(self._present) >= self._most:
                raise Busy("too many logs are being read")
            follower = Follower()
            self._present.add(follower)
            if self._closed:
                follower.hang_up()
            return follower

    def leave(self, follower: Follower) -> None:
        """Give a place back."""
        with self._lock:
            self._present.discard(follower)
        follower.close()


class Place:
    """The place of one, while its context is open."""

    def __init__(self, followers: Followers) -> None:
        self._followers = followers
        self._follower: Follower

    def __enter__(self) -> Follower:
        self._follower = self._followers.enter()
        return self._follower

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._followers.leave(self._follower)

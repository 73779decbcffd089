"""The test host's command line.

    python -m tests.vm run [OPTION...] [--] [PYTEST-ARGUMENT...]    run tests
    python -m tests.vm exec [OPTION...] [--] COMMAND [ARGUMENT...]  run any command
    python -m tests.vm build [OPTION...]                            only make the host ready

    --profile=apparmor|selinux  the kind of host (apparmor)
    --time=SECONDS              the longest that the run may take (3000)
    --results=DIR               leave junit.xml, journal.txt and console.txt there
    --jobs=N                    tests at a time (2)

The host is built, booted and saved when it is first wanted, as root, into $RKTPY_VM_CACHE (~/.cache/rktpy/vm).
$RKTPY_VM_ACCEL is kvm or tcg; without it KVM is used where it is seen to boot. One machine runs at a time; others wait.

The exit status is that of pytest or of the command; 124 when the time was up, 125 when there is no host.
"""

from __future__ import annotations

import getopt
import signal
import sys
from pathlib import Path

from tests.vm.cache import HostError, only_one
from tests.vm.environment import CHECKOUT
from tests.vm.host import booted, running
from tests.vm.profiles import PROFILES
from tests.vm.selection import ENVIRONMENT, as_a_login, run_tests, through

OPTIONS = ["help", "profile=", "time=", "results=", "jobs="]


def main(argv: list[str]) -> int:
    """The exit status."""
    try:
        # Options end where the arguments of pytest or the command begin.
        given, rest = getopt.getopt(argv[1:], "h", OPTIONS)
        options = dict(given)
        profile = PROFILES[options.get("--profile", "apparmor")]
        limit = float(options.get("--time", 3000))
        jobs = int(options.get("--jobs", 2))
    except (getopt.GetoptError, KeyError, ValueError) as error:
        print(f"vm: {error} (try --help)", file=sys.stderr)
        return 125
    if argv[:1] in (["-h"], ["--help"]) or options.keys() & {"-h", "--help"}:
        print((__doc__ or "").rstrip())
        return 0
    if argv[:1] not in (["run"], ["exec"], ["build"]):
        print("vm: say run, exec or build (try --help)", file=sys.stderr)
        return 125
    # So that what was begun is taken down: a machine, half an image.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    results = Path(options["--results"]) if "--results" in options else None
    try:
        with only_one():
            if argv[0] == "build":
                booted(profile)
                return 0
            with running(profile) as host:
                if argv[0] == "run":
                    return run_tests(host, rest, results, limit, jobs)
                command = as_a_login(rest)
                return host.run(command, patience=limit, output=through(1), error=through(2), env=ENVIRONMENT, cwd=CHECKOUT)[0]
    except TimeoutError:
        print(f"vm: still running after {limit:.0f} seconds", file=sys.stderr)
        return 124
    except HostError as error:
        print(f"vm: {error}", file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

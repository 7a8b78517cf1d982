"""The loop of the runners beside this folder, and what they say: cli, server, docs.

A case is a function called test_*; it fails by an exception and is skipped by skip(why). Lines of output that others read:

    skipped: NAME: WHY
    FAILED NAME, then where and why
    slow: NAME: SECONDS s
    leat-test: N passed, N failed, N skipped
"""
import sys
import time
import traceback

SLOW_S = 5


class Skipped(Exception):
    pass


def skip(why):
    raise Skipped(why)


def cases_of(names, prefix=""):
    """(name, case) of what a module or a dictionary of names holds, in its order."""
    names = names if isinstance(names, dict) else vars(names)
    return [(prefix + name[5:], case) for name, case in names.items() if name.startswith("test_")]


def run_case(name, case):
    """ "passed", "failed" or "skipped" """
    try:
        case()
        return "passed"
    except Skipped as why:
        print("skipped: %s: %s" % (name, why))
        return "skipped"
    except Exception:
        print("FAILED %s\n%s" % (name, traceback.format_exc()))
        return "failed"


def run(cases, parts, after=lambda: None):
    """Runs the cases with one of `parts` in their name, all where there are none, and `after` behind each of them. Returns the exit
    status."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name, case in cases:
        if parts and not any(part in name for part in parts):
            continue
        begin = time.monotonic()
        counts[run_case(name, case)] += 1
        after()
        if time.monotonic() - begin > SLOW_S:
            print("slow: %s: %.1f s" % (name, time.monotonic() - begin))
        sys.stdout.flush()
    print("leat-test: %(passed)d passed, %(failed)d failed, %(skipped)d skipped" % counts)
    return 1 if counts["failed"] else 0

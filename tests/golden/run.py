"""Known answers, identical bits, memory and damaged files: whole models, and chat templates, through the program.

    run.py LEAT [TOOLS] [-k PART_OF_A_NAME]... [-v] [--list] [--copies]

LEAT is the program; TOOLS the folder with route_trace and measure_peak (tests/golden of LEAT's build folder).
Checkpoints come from $LEAT_CONFORMANCE, else ../shared/conformance beside the source tree, else from this folder, which
has a part of them. Names each case that fails, with what differs, and each that is skipped, with the reason; ends with
"leat-test: N passed, N failed, N skipped". Standard library only. docs/testing.md says more.
"""
import argparse
import concurrent.futures
import os
import signal
import sys
import tempfile
import time
import traceback

from answer_cases import answer_cases
from bad_cases import bad_cases
from budget_cases import budget_cases
from identity_cases import identity_cases
from leat_program import ROOT, Leat, Skipped
from pressure_cases import pressure_cases
from reference_cases import reference_cases
from template_cases import template_cases

COPIES = os.path.dirname(os.path.abspath(__file__))


def find_checkpoints(only_copies):
    """(folder, whether it is the full set)"""
    if only_copies:
        return COPIES, False
    named = os.environ.get("LEAT_CONFORMANCE")
    if named and not os.path.isdir(os.path.join(named, "models")):
        sys.exit("LEAT_CONFORMANCE is %s, which has no folder models" % named)
    for base in (named, os.path.join(os.path.dirname(ROOT), "shared", "conformance")):
        if base and os.path.isdir(os.path.join(base, "models")):
            return os.path.abspath(base), True
    return COPIES, False


def read_arguments():
    parser = argparse.ArgumentParser(description="Known answers, identical bits, memory and damaged files.")
    parser.add_argument("leat", help="the program")
    parser.add_argument("tools", nargs="?", help="the folder with route_trace and measure_peak")
    parser.add_argument("-k", action="append", default=[], metavar="PART", help="only cases with PART in their name")
    parser.add_argument("-v", action="store_true", help="name the cases that pass, too")
    parser.add_argument("--copies", action="store_true", help="the checkpoints in this folder, not the full set")
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    found = parser.parse_args()
    if found.tools is None:
        found.tools = os.path.join(os.path.dirname(os.path.abspath(found.leat)), "..", "..", "tests", "golden")
    return found


def run_case(case):
    """(case, "passed" | "failed" | "skipped", what to say, seconds)"""
    begin = time.monotonic()
    try:
        case.run()
        result, words = "passed", ""
    except Skipped as why:
        result, words = "skipped", str(why)
    except AssertionError as what:
        result, words = "failed", str(what) or traceback.format_exc()
    except Exception:
        result, words = "failed", traceback.format_exc()
    return case, result, words, time.monotonic() - begin


def run_cases(leat, cases):
    """[(case, result, words, seconds)] in the order of `cases`."""
    # Most cases compute with one thread; those with more share the machine with them.
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        waiting = {case: pool.submit(run_case, case) for case in sorted(cases, key=lambda case: -case.seconds)}
        try:
            return [waiting[case].result() for case in cases]
        except BaseException:  # interrupted
            for future in waiting.values():
                future.cancel()
            leat.stop_all()
            raise


def report(results, is_verbose):
    """What failed comes last, where one looks first. Returns the exit code."""
    for case, result, words, seconds in results:
        if result == "passed" and is_verbose:
            print("passed %s (%.1f s)" % (case.name, seconds))
    for case, result, words, _ in results:
        if result == "skipped":
            print("skipped: %s: %s" % (case.name, words))
    for case, result, words, _ in results:
        if result == "failed":
            print("FAILED %s: %s" % (case.name, words))
    if not results:
        print("FAILED: no case has that in its name")
    counts = [sum(result == wanted for _, result, _, _ in results) for wanted in ("passed", "failed", "skipped")]
    print("leat-test: %d passed, %d failed, %d skipped" % tuple(counts))
    return 1 if counts[1] or not results else 0


def main():
    arguments = read_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # cgroups and files are removed on the way out
    base, is_full = find_checkpoints(arguments.copies)
    print("checkpoints: %s (%s)" % (base, "the full set" if is_full else "the part of it that the source tree has"))
    with tempfile.TemporaryDirectory(prefix="run-", dir=arguments.tools) as work:
        leat = Leat(arguments.leat, arguments.tools, work)
        cases = reference_cases(leat, base, is_full, COPIES) + bad_cases(leat, base) + identity_cases(leat, base)
        cases += budget_cases(leat)
        cases += pressure_cases(leat)
        cases += answer_cases(leat, base)
        cases += template_cases(leat, base, is_full, COPIES)
        if arguments.k:
            cases = [case for case in cases if any(part in case.name for part in arguments.k)]
        if arguments.list:
            print("\n".join(case.name for case in cases))
            return 0
        begin = time.monotonic()
        results = run_cases(leat, cases)
    print("%d cases in %.0f s" % (len(cases), time.monotonic() - begin))
    return report(results, arguments.v)


if __name__ == "__main__":
    sys.exit(main())

"""Runs `meson test` and counts single cases.

    run_meson_tests.py BUILD_FOLDER

A cmocka program reports its cases one by one; another program may end with "leat-test: N passed, N failed, N skipped"; what says
nothing is one case, as its exit status has it (77: skipped). Ends with a leat-test line of its own. Standard library only.
"""
import json
import os
import re
import subprocess
import sys

OWN = re.compile(r"^leat-test: (\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
CMOCKA_RAN = re.compile(r"^\[==========\] .*?(\d+) test\(s\) run\.?$", re.M)
CMOCKA_PASSED = re.compile(r"^\[  PASSED  \] (\d+) test\(s\)", re.M)
CMOCKA_SKIPPED = re.compile(r"^\[  SKIPPED \] (\d+) test\(s\)", re.M)
# A case's own lines, between its start and its result, say why it was skipped.
CMOCKA_SKIPPED_CASE = re.compile(r"^\[ RUN      \] (\S+)\n((?:(?!\[ RUN).*\n)*?)\[  SKIPPED \] \1$", re.M)


def last_words(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("[  NOTE    ] ")[:160] if lines else "it does not say why"


def name_skipped(name, text):
    """Lines "skipped: NAME: WHY" for one test program."""
    own = re.findall(r"^skipped: (.*)$", text, re.M)
    cases = CMOCKA_SKIPPED_CASE.findall(text)
    for line in own:
        print("skipped: %s: %s" % (name, line))
    for case, why in cases:
        print("skipped: %s: %s: %s" % (name, case, last_words(why)))
    if not own and not cases:
        print("skipped: %s: %s" % (name, last_words(text)))


def count(test):
    """(passed, failed, skipped) of one test program."""
    text = test.get("stdout", "") + "\n" + test.get("stderr", "")
    is_good = test["result"] in ("OK", "EXPECTEDFAIL", "SKIP")
    own = OWN.findall(text)
    if own:
        passed, failed, skipped = map(int, own[-1])
    elif CMOCKA_PASSED.search(text):
        # A program may hold several groups of cases.
        passed = sum(map(int, CMOCKA_PASSED.findall(text)))
        skipped = sum(map(int, CMOCKA_SKIPPED.findall(text)))
        failed = max(0, sum(map(int, CMOCKA_RAN.findall(text))) - passed - skipped)
    else:
        passed, failed, skipped = test["result"] == "OK", not is_good, test["result"] == "SKIP"
    if not is_good and failed == 0:
        failed = 1
    return int(passed), int(failed), int(skipped)


def main():
    build = sys.argv[1]
    log = os.path.join(build, "meson-logs", "testlog.json")
    if os.path.exists(log):
        os.unlink(log)
    run = subprocess.run(["meson", "test", "-C", build, "--no-rebuild", "--quiet"], capture_output=True, text=True)
    if not os.path.exists(log):
        print(run.stdout + run.stderr)
        sys.exit("meson test left no log")
    totals = [0, 0, 0]
    with open(log, encoding="utf-8") as stream:
        for line in stream:
            test = json.loads(line)
            counts = count(test)
            totals = [total + one for total, one in zip(totals, counts)]
            print("%-40s %s  %d passed, %d failed, %d skipped" % ((test["name"], test["result"]) + counts))
            text = test.get("stdout", "") + "\n" + test.get("stderr", "")
            if counts[1]:
                print(text)
            if counts[2]:
                name_skipped(test["name"], text)
    print("leat-test: %d passed, %d failed, %d skipped" % tuple(totals))
    sys.exit(1 if totals[1] else 0)


main()

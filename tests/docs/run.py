"""Runs what the documentation tells its readers to type, and compares pages with the program.

    run.py LEAT [PART_OF_A_NAME...]

Cases are functions called test_* of the modules beside this one; a case fails by an assertion and is skipped by
skip(why). Ends with "leat-test: N passed, N failed, N skipped".
"""
import os
import sys
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../server"))
import client
import page_cases
import reference_cases


def main():
    client.LEAT = os.path.abspath(sys.argv[1])
    cases = [(name[5:], case) for module in (page_cases, reference_cases) for name, case in vars(module).items() if name.startswith("test_")]
    passed = failed = skipped = 0
    for name, case in cases:
        if sys.argv[2:] and not any(part in name for part in sys.argv[2:]):
            continue
        try:
            case()
            passed += 1
        except client.Skipped as why:
            skipped += 1
            print("skipped: %s: %s" % (name, why))
        except Exception:
            failed += 1
            print("FAILED %s\n%s" % (name, traceback.format_exc()))
        sys.stdout.flush()
    print("leat-test: %d passed, %d failed, %d skipped" % (passed, failed, skipped))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

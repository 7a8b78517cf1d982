"""Tests of the server over raw sockets: what clients may do to it, the process around it, and the API.

    run.py LEAT [PART_OF_A_NAME...]

HTTP is tested with tests/server/http_probe.c, a server without a model that lies in the same build folder as LEAT; the
process with LEAT and models/brook. Cases are functions called test_*; a case fails by an assertion and is skipped by
skip(why). Needs the Python standard library. Ends with "leat-test: N passed, N failed, N skipped".
"""
import os
import sys
import time
import traceback

import api_cases
import client
import http_cases
import serve_cases


def main():
    client.LEAT = os.path.abspath(sys.argv[1])
    client.PROBE = os.path.join(os.path.dirname(client.LEAT), "../../tests/server/http_probe")
    cases = [(module.__name__[:-6] + "." + name[5:], case) for module in (http_cases, serve_cases, api_cases)
             for name, case in vars(module).items() if name.startswith("test_")]
    if sys.argv[2:]:
        cases = [(name, case) for name, case in cases if any(part in name for part in sys.argv[2:])]
    passed = failed = skipped = 0
    for name, case in cases:
        begin = time.monotonic()
        try:
            case()
            passed += 1
        except client.Skipped as why:
            skipped += 1
            print("skipped: %s: %s" % (name, why))
        except Exception:
            failed += 1
            print("FAILED %s\n%s" % (name, traceback.format_exc()))
        if time.monotonic() - begin > 5:
            print("slow: %s: %.1f s" % (name, time.monotonic() - begin))
        sys.stdout.flush()
    print("leat-test: %d passed, %d failed, %d skipped" % (passed, failed, skipped))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

"""Tests of the server over raw sockets: what clients may do to it, the process around it, and the API.

    run.py LEAT [PART_OF_A_NAME...]

HTTP is tested with tests/server/http_probe.c, a server without a model that lies in the same build folder as LEAT; the
process with LEAT and models/brook. Cases are functions called test_*; a case fails by an assertion and is skipped by
skip(why). Needs the Python standard library. Ends with "leat-test: N passed, N failed, N skipped".
"""
import os
import sys

import api_cases
import client
import case_runner
import http_cases
import serve_cases


def main():
    client.LEAT = os.path.abspath(sys.argv[1])
    client.PROBE = os.path.join(os.path.dirname(client.LEAT), "../../tests/server/http_probe")
    cases = [case for module in (http_cases, serve_cases, api_cases)
             for case in case_runner.cases_of(module, module.__name__[:-6] + ".")]
    sys.exit(case_runner.run(cases, sys.argv[2:]))


if __name__ == "__main__":
    main()

"""Runs what the documentation tells its readers to type, and compares pages with the program.

    run.py LEAT [PART_OF_A_NAME...]

Cases are functions called test_* of the modules beside this one; a case fails by an assertion and is skipped by
skip(why). Ends with "leat-test: N passed, N failed, N skipped".
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../server"))
import client
import case_runner
import page_cases
import reference_cases


def main():
    client.LEAT = os.path.abspath(sys.argv[1])
    cases = case_runner.cases_of(page_cases) + case_runner.cases_of(reference_cases)
    sys.exit(case_runner.run(cases, sys.argv[2:]))


if __name__ == "__main__":
    main()

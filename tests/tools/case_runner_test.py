"""tests/support/case_runner.py: what it counts, what it says, and what it runs behind a case."""

import contextlib
import io
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import case_runner

ran = []


def test_good():
    ran.append("good")


def test_bad():
    ran.append("bad")
    assert not "the reason", "is told"


def test_absent():
    ran.append("absent")
    case_runner.skip("no moon tonight")


def run(*parts):
    """(exit status, lines, what ran)"""
    ran.clear()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = case_runner.run(case_runner.cases_of(globals(), "x."), parts, after=lambda: ran.append("after"))
    return status, out.getvalue().splitlines(), list(ran)


class CaseRunner(unittest.TestCase):
    def test_counts_and_says(self):
        status, lines, done = run()
        self.assertEqual((status, lines[-1]), (1, "leat-test: 1 passed, 1 failed, 1 skipped"))
        self.assertIn("skipped: x.absent: no moon tonight", lines)
        self.assertIn("FAILED x.bad", lines)
        self.assertIn("AssertionError: is told", lines)
        self.assertEqual(done, ["good", "after", "bad", "after", "absent", "after"])

    def test_takes_parts_of_names(self):
        self.assertEqual(run("goo"), (0, ["leat-test: 1 passed, 0 failed, 0 skipped"], ["good", "after"]))
        self.assertEqual(run("absent", "good")[1][-1], "leat-test: 1 passed, 0 failed, 1 skipped")

    def test_says_what_is_slow(self):
        usual, case_runner.SLOW_S = case_runner.SLOW_S, -1
        try:
            self.assertRegex(run("good")[1][0], r"^slow: x\.good: \d+\.\d s$")
        finally:
            case_runner.SLOW_S = usual


if __name__ == "__main__":
    unittest.main()

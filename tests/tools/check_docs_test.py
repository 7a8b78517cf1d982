"""tools/check_docs on small trees, each with one thing wrong."""

import os
import subprocess
import sys
import tempfile
import unittest

TOOL = sys.argv.pop(1)

GOOD = {
    "README.md": "# Tree\nSee [a page](docs/page.md#what-is-it), [below](#more), [out](https://example.org/a.md),\n"
                 "`src/os/file.c`, `file.c`, `tests/unit/ROOM`, `cmd_NAME.c`, `src/*/file.c`, `and/or`.\n\n    [code](nowhere.md) `src/code.c`\n\n"
                 "```\n[code](nowhere.md)\n```\n\n## More\n",
    "docs/page.md": "# What *is* it?\n[back](../README.md) [folder](../src)\n",
    "src/os/file.c": "",
    "build/page.md": "[generated](nowhere.md)\n",
    "models/small/README.md": "[not ours](nowhere.md)\n",
}


class CheckDocs(unittest.TestCase):
    def run_on(self, changes):
        with tempfile.TemporaryDirectory() as root:
            for name, text in {**GOOD, **changes}.items():
                path = os.path.join(root, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
            done = subprocess.run([sys.executable, TOOL, root], capture_output=True, text=True, check=False)
            self.assertEqual(done.stderr, "")
            return done.returncode, done.stdout

    def expect(self, page, output):
        self.assertEqual(self.run_on({"docs/page.md": "# What is it\n" + page}), (1, output + "\n"))

    def test_a_good_tree_passes(self):
        self.assertEqual(self.run_on({}), (0, ""))

    def test_links(self):
        self.expect("see [it](absent.md)", "docs/page.md:2: the link to absent.md leads nowhere")
        self.expect("see [it](../../outside.md)", "docs/page.md:2: the link to ../../outside.md leads nowhere")

    def test_anchors(self):
        self.expect("see [it](#which)", "docs/page.md:2: the link to #which: the page has no such heading")
        self.expect("[it](../README.md#which)",
                    "docs/page.md:2: the link to ../README.md#which: the page has no such heading")

    def test_quoted_paths(self):
        self.expect("in `src/os/fil.c`", "docs/page.md:2: `src/os/fil.c` is not there")
        self.expect("in\n`docs/formats`", "docs/page.md:3: `docs/formats` is not there")

    def test_quoted_names(self):
        self.expect("in `fil.c`", "docs/page.md:2: no file has the name `fil.c`")

    def test_tables(self):
        table = "| a | b |\n|---|:-:|\n| 1 | 2 |\n"
        self.assertEqual(self.run_on({"docs/page.md": "# What is it\n" + table}), (0, ""))
        self.expect(table + "\ntext\n| 3 | 4 |\n| 5 | 6 |\n", "docs/page.md:7: a row of a table that has no head")
        self.expect("| 3 | 4 |", "docs/page.md:2: a row of a table that has no head")


if __name__ == "__main__":
    unittest.main()

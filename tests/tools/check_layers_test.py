"""tools/check_layers on small trees, each with one thing wrong."""

import os
import subprocess
import sys
import tempfile
import unittest

TOOL = sys.argv.pop(1)

GOOD = {
    "LAYERS": "# rooms\nbase: public\nos: base\napi: base os public\napps: public base\ntests: *\n",
    "include/leat/status.h": "",
    "include/leat/leat.h": "#include <leat/status.h>\n",
    "src/base/status.h": "#include <leat/status.h>\n",
    "src/base/status.c": "/*\n * #include \"os/file.h\" in a comment does not count\n */\n#include \"base/status.h\"\n\n#include <stdio.h>\n",
    "src/os/file.h": "#include \"base/status.h\"\n",
    "src/os/file.c": "#include \"os/file.h\"\n",
    "src/api/leat.c": "#include <leat/leat.h>\n#include \"os/file.h\"\n",
    "apps/cli/main.c": "#include \"options.h\"\n#include <leat/leat.h>\n",
    "apps/cli/options.h": "",
    "tests/support/unit.h": "#include \"base/status.h\"\n",
    "tests/unit/file_test.c": "#include \"support/unit.h\"\n#include \"os/file.h\"\n",
}


class CheckLayers(unittest.TestCase):
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

    def expect(self, changes, message):
        code, output = self.run_on(changes)
        self.assertIn(message, output)
        self.assertEqual(output.count("\n"), 1, output)
        self.assertEqual(code, 1)

    def test_a_good_tree_passes(self):
        self.assertEqual(self.run_on({}), (0, ""))

    def test_what_the_build_makes(self):
        made = {"src/os/made.h.in": "", "src/os/clock.c": "#include \"os/made.h\"\n"}
        self.assertEqual(self.run_on(made), (0, ""))
        self.expect({"src/os/clock.c": "#include \"os/made.h\"\n"}, "is not there")

    def test_a_forbidden_room(self):
        self.expect({"src/base/mem.c": "\n#include \"os/file.h\"\n"},
                    "src/base/mem.c:2: the room 'base' may not include 'os'")

    def test_programs_keep_to_the_public_interface(self):
        self.expect({"apps/cli/cmd.c": "#include \"os/file.h\"\n"}, "apps/cli/cmd.c:1: the room 'apps' may not include 'os'")

    def test_the_public_interface_is_not_for_inner_rooms(self):
        self.expect({"src/os/clock.c": "#include <leat/status.h>\n"},
                    "src/os/clock.c:1: the room 'os' may not include 'public'")
        self.expect({"src/base/mem.c": "#include <leat/leat.h>\n"}, "src/base/mem.c:1: <leat/leat.h> is for the room api")

    def test_public_headers_stand_alone(self):
        self.expect({"include/leat/more.h": "#include \"base/status.h\"\n"},
                    "include/leat/more.h:1: the room 'public' may not include 'base'")

    def test_an_unknown_room(self):
        self.expect({"src/new/thing.c": "#include \"base/status.h\"\n"}, "the room 'new' is not in LAYERS")

    def test_a_missing_or_relative_include(self):
        self.expect({"src/os/a.c": "#include \"base/absent.h\"\n"}, "src/os/a.c:1: \"base/absent.h\" is not there")
        self.expect({"src/os/a.c": "#include \"file.h\"\n"}, "src/os/a.c:1: \"file.h\" is not there")
        self.expect({"src/os/a.c": "#include \"../base/status.h\"\n"}, "without \"..\"")

    def test_the_own_header_comes_first(self):
        self.expect({"src/os/file.c": "#include <stdio.h>\n#include \"os/file.h\"\n"},
                    "src/os/file.c:1: expected its own header src/os/file.h to be included first")
        self.expect({"src/os/file.c": "int x;\n"}, "expected its own header")

    def test_names_are_unique(self):
        self.expect({"src/api/file.c": ""}, "src/os/file.c:1: the file name file.c is taken by src/api/file.c")

    def test_circles(self):
        self.expect({"src/base/a.h": "#include \"base/b.h\"\n", "src/base/b.h": "#include \"base/c.inc\"\n",
                     "src/base/c.inc": "#include \"base/a.h\"\n"}, "headers include each other: src/base/a.h -> src/base/b.h")

    def test_a_broken_table(self):
        self.expect({"LAYERS": GOOD["LAYERS"] + "os: base\n"}, "LAYERS:7: expected one line")
        self.expect({"LAYERS": GOOD["LAYERS"] + "io: bse\n"}, "io may include 'bse', which is no room")


if __name__ == "__main__":
    unittest.main()

"""bench/bars.py with programs of known answers in place of leat, fio and a peer: the ratios are those of the answers."""

import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest

TOOL = sys.argv.pop(1)

# 1 MB is missed a token, of which none was a wrong guess; 10 ms each of which 4 are arithmetic.
LEAT = """#!{python}
import json, sys
if sys.argv[1] == "plan":
    print(json.dumps({{"everything_bytes": 4000}}))
    sys.exit()
count = int(sys.argv[sys.argv.index("-n") + 1])
print(json.dumps({{
    "timings": {{"decode_s": 0.010 * (count - 1), "decode_p50_s": 0.010, "first_token_s": 0.9, "load_s": 0.1}},
    "io": {{"payload_bytes": 8000000 + 1200000 * (count - 1), "read_bytes": 9000000 * count}},
    "ahead": {{"wasted_bytes": 200000 * (count - 1)}},
    "memory": {{"streamed_bytes_per_step": {streamed}, "pools": [{{"name": "trunk", "current_bytes": 3000000}}]}},
    "times": {{"parts": {{"disk_wait_s": 0.006 * count, "attention_s": 0.001 * count, "ffn_s": 0.001 * count, "router_s": 0,
              "moe_s": 0.002 * count, "step_other_s": 0, "head_s": 0}}}}}}))
"""
# 125 MB a second.
FIO = "#!/bin/sh\necho \"$*\" >> {log}\necho 'fio: a note'\necho '{{\"jobs\": [{{\"read\": {{\"bw_bytes\": 125000000}}}}]}}'\n"
PEER = "echo '{\"tok_s\": 20.0, \"first_token_s\": 3, \"major_faults\": 7}'"


class Bars(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = folder.name
        self.log = os.path.join(self.root, "log")

    def program(self, name, text):
        path = os.path.join(self.root, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, 0o755)
        return path

    def checkpoint(self, experts):
        """Two layers; with experts, stacks of 4 whose parts have 4096 and 500 bytes, and 2 of them are used."""
        tensors, at = {}, 0
        for layer in range(2):
            sizes = [("mlp.up.weight", [4, 4096]), ("input_norm", [1, 500])]
            if experts:
                sizes = [("experts.gate.weight", [4, 4096]), ("experts.gate.scales", [4, 500])]
            for name, shape in sizes:
                size = shape[0] * shape[1]
                tensors["model.layers.%d.%s" % (layer, name)] = {"dtype": "U8", "shape": shape, "data_offsets": [at, at + size]}
                at += size
        header = json.dumps(tensors).encode()
        with open(os.path.join(self.root, "model.safetensors"), "wb") as f:
            f.write(struct.pack("<Q", len(header)) + header + bytes(at))
        with open(os.path.join(self.root, "config.json"), "w", encoding="ascii") as f:
            json.dump({"vocab_size": 100, **({"num_experts": 4, "num_experts_per_tok": 2} if experts else {})}, f)

    def run_on(self, *options, experts=True, streamed=0, has_fio=True):
        self.checkpoint(experts)
        leat = self.program("leat", LEAT.format(python=sys.executable, streamed=streamed))
        if has_fio:
            self.program("fio", FIO.format(log=self.log))
        out = os.path.join(self.root, "out")
        done = subprocess.run([sys.executable, TOOL, leat, self.root, "--rounds", "1", "--settle", "0", "--out", out, *options],
                              capture_output=True, text=True, check=False, env={"PATH": self.root + (":/bin:/usr/bin" if has_fio else "")})
        if done.returncode:
            return done, None
        with open(out + ".json", encoding="utf-8") as f:
            return done, json.load(f)

    def test_decoding_against_disk_and_arithmetic(self):
        done, found = self.run_on("--parts", "decode", "--budgets", "2K", "--no-everything")
        self.assertEqual(done.stderr.count("round"), 1)
        row = found["decode"][0]
        self.assertAlmostEqual(row["missed_bytes"], 1e6)
        self.assertAlmostEqual(row["disk_limit_s"], 0.008)
        self.assertAlmostEqual(row["compute_limit_s"], 0.004)
        self.assertAlmostEqual(row["ratio"], 0.8)
        self.assertIn("| 0.80 |", done.stdout)

    def test_reads_of_experts(self):
        _, found = self.run_on("--parts", "decode", "--budgets", "2K", "--no-everything")
        self.assertEqual(found["checkpoint"]["read_sizes"], [[4096, 1.0]])  # 500 bytes are a block, too
        self.assertEqual(found["checkpoint"]["depth"], 4)
        with open(self.log, encoding="ascii") as f:
            said = f.read()
        self.assertIn("--rw=randread", said)
        self.assertIn("--iodepth=4", said)

    def test_dense(self):
        _, found = self.run_on("--parts", "decode", "--budgets", "2K", "--no-everything", experts=False, streamed=1000000)
        self.assertAlmostEqual(found["decode"][0]["dense_ratio"], 0.8)
        with open(self.log, encoding="ascii") as f:
            self.assertIn("--rw=read ", f.read())

    def test_first_tokens(self):
        _, found = self.run_on("--parts", "prompt,cold", "--budgets", "2K")
        self.assertAlmostEqual(found["prompt"][0]["times_limit"], 0.9 / (5e6 / 125e6))
        self.assertAlmostEqual(found["cold"][0]["times_limit"], 1.0 / (8e6 / 125e6))
        self.assertIsNone(found["cold"][0]["ready_s"])

    def test_peer(self):
        _, found = self.run_on("--parts", "decode,peer", "--budgets", "2K", "--no-everything", "--peer", PEER)
        self.assertAlmostEqual(found["peer"][0]["times_peer"], 5)
        self.assertEqual(found["peer"][0]["major_faults"], 7)

    def test_a_peer_that_fails(self):
        done, _ = self.run_on("--parts", "peer", "--budgets", "2K", "--peer", "echo no; exit 3")
        self.assertEqual(done.returncode, 1)
        self.assertIn("--peer: exit 3", done.stderr)

    def test_without_fio(self):
        done, _ = self.run_on("--parts", "decode", has_fio=False)
        self.assertEqual((done.returncode, done.stdout), (77, ""))
        self.assertIn("SKIPPED: fio", done.stderr)


if __name__ == "__main__":
    unittest.main()

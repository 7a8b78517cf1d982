#!/usr/bin/env python3
"""leat and llama.cpp in turns, under the same memory limit, on the same shape.

    compare_llama.py LEAT --case NAME,LEAT_MODEL,GGUF,RAM,TOKENS,PEER_TOKENS [--case ...] [--rounds 3] [--temp 1.5]

Run it with a Python that has llama-cpp-python. Both programs run in a memory cgroup of RAM + 32 MiB; leat gets RAM as
its budget. In each round leat goes first, and llama.cpp is fed the very tokens that leat drew (with --temp 0 both
decode greedily), after the file left the page cache and with the disk's read-ahead at 128 KiB. Models:
tools/make_synthetic_model.py and tools/make_synthetic_gguf.py. Prints each run to standard error and a table of
medians in the end.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys

import peer_llama

MARGIN = 32 << 20
READ_AHEAD_KIB = 128


def run_leat(leat, case, ctx, temp):
    command = [leat, "run", case.model, "--tokens", peer_llama.PROMPT, "-n", str(case.tokens), "--ignore-eos", "--json",
               "--ctx", str(ctx), "--ram", str(case.ram), "--temp", str(temp), "--top-k", "0", "--top-p", "1",
               "--min-p", "0", "--seed", "7"]
    with peer_llama.memory_group(case.ram + MARGIN) as group:
        done = subprocess.run(command, preexec_fn=lambda: peer_llama.enter(group), check=True, stdout=subprocess.PIPE)
    answer = json.loads(done.stdout)
    return {"tok_s": answer["timings"]["decode_tokens_per_s"], "first_token_s": answer["timings"]["first_token_s"],
            "load_s": answer["timings"]["load_s"], "ids": answer["tokens"]}


def run_peer(case, ctx, temp, ids):
    peer_llama.drop_cache(case.gguf)
    feed = ",".join(str(i) for i in ids) if temp else ""
    arguments = [case.gguf, "-n", str(case.peer_tokens), "--ctx", str(ctx), "--feed", feed]
    with peer_llama.read_ahead(case.gguf, READ_AHEAD_KIB):
        return peer_llama.run_limited(arguments, case.ram + MARGIN)


class Case:
    def __init__(self, text):
        self.name, self.model, self.gguf, ram, tokens, peer_tokens = text.split(",")
        self.ram, self.tokens, self.peer_tokens = peer_llama.parse_size(ram), int(tokens), int(peer_tokens)
        self.leat, self.peer = [], []

    def round(self, a):
        self.leat.append(run_leat(a.leat, self, a.ctx, a.temp))
        self.note("leat", self.leat[-1])
        self.peer.append(run_peer(self, a.ctx, a.temp, self.leat[-1]["ids"]))
        self.note("llama.cpp", self.peer[-1])

    def note(self, who, run):
        run["until_first_s"] = run["load_s"] + run["first_token_s"]
        shown = {key: round(run[key], 3) for key in ("tok_s", "first_token_s", "load_s")}
        extra = {key: run[key] for key in ("decode_major_faults", "decode_read_bytes", "peak_bytes") if key in run}
        print(self.name, self.ram >> 20, "MiB", who, shown, extra, "load %.1f" % os.getloadavg()[0],
              file=sys.stderr, flush=True)

    def row(self):
        def median(runs, key, count=1):
            return statistics.median(run[key] for run in runs) / count

        decoded = self.peer_tokens - 1
        ours, theirs = median(self.leat, "tok_s"), median(self.peer, "tok_s")
        return "| %s | %.1f GiB | %.2f | %.3f | %.1f | %.1f | %.1f | %d | %.2f |" % (
            self.name, self.ram / (1 << 30), ours, theirs, ours / theirs, median(self.leat, "until_first_s"),
            median(self.peer, "until_first_s"), median(self.peer, "decode_major_faults", decoded),
            median(self.peer, "decode_read_bytes", decoded * 1e9))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("leat")
    parser.add_argument("--case", type=Case, action="append", required=True, dest="cases")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ctx", type=int, default=1024)
    parser.add_argument("--temp", type=float, default=1.5)
    a = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the read-ahead is put back
    for _ in range(a.rounds):
        for case in a.cases:
            case.round(a)
    heads = ["shape", "budget", "leat, tok/s", "llama.cpp, tok/s", "ratio", "leat, load and prompt, s",
             "llama.cpp, load and prompt, s", "llama.cpp, major faults a token", "llama.cpp, GB read a token"]
    print("| %s |\n|%s" % (" | ".join(heads), "---|" * len(heads)))
    print("\n".join(case.row() for case in a.cases))


if __name__ == "__main__":
    main()

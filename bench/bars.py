#!/usr/bin/env python3
"""How near leat comes to what the disk and the arithmetic allow, on one checkpoint, beside fio in the same run.

    bars.py LEAT CHECKPOINT [--parts decode,prompt,cold,read] [--budgets 8G,4G,2560M] [--rounds 5] [--out PREFIX]
            [--peer 'COMMAND'] [--settle 5] [--help]

LEAT is the program of a release build; bench/storage_bench of the same build is used for `read`. CHECKPOINT is a folder of
safetensors files (tools/make_synthetic_model.py makes some); it needs no tokenizer. fio has to be installed.

    decode  tokens after the cache is filled, at each budget, against min(disk limit, compute limit)
    prompt  time to the first token of 512, at each budget, against max(time of the sweep, time of the arithmetic)
    cold    page cache dropped: from the start of the process to the first token of 16
    read    storage_bench against fio, and CPU time spent in reading
    peer    decoding by another program, COMMAND, at each budget; only with --peer

All parts take turns, round by round, with fio between them at the read sizes of the checkpoint and the engine's depth: in random
order for experts, in the files' order for the layers of a dense model. Prints a table in Markdown; with --out also writes
PREFIX.md and PREFIX.json. docs/measurements/README.md says what the columns mean. Standard library only.
"""
import argparse
import json
import os
import platform
import random
import re
import shlex
import shutil
import statistics
import struct
import subprocess
import sys
import time

PARTS = ("decode", "prompt", "cold", "read", "peer")
PIECE_BYTES = 4 << 20  # the engine reads larger matrices in pieces of this size
ALIGN = 4096
# Random weights repeat themselves under greedy sampling, and with them the routing; so tokens are drawn.
SAMPLING = ("--temp", "5", "--top-k", "0", "--top-p", "1", "--min-p", "0", "--seed", "11")
ARITHMETIC = ("attention_s", "ffn_s", "router_s", "moe_s", "step_other_s", "head_s")


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def size_of(text):
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)(?:i?B)?", text)
    if not found:
        raise argparse.ArgumentTypeError("%r is not a size like 4G" % text)
    return int(float(found[1]) * {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[found[2]])


# ---- the checkpoint ----------------------------------------------------------------------------------------------


class Checkpoint:
    """What its headers say: files, size of all weights, and the sizes of the reads that a token causes."""

    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        self.files = sorted(os.path.join(self.folder, name) for name in os.listdir(folder) if name.endswith(".safetensors"))
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            config = json.load(f)
        text = config.get("text_config", config)
        self.vocab = text["vocab_size"]
        self.expert_count = text.get("num_experts") or text.get("num_local_experts") or 0
        self.used_count = text.get("top_k_experts") or text.get("num_experts_per_tok") or 0
        self.tensors = [tensor for path in self.files for tensor in self.read_header(path)]
        self.bytes = sum(size for _, _, _, size in self.tensors)
        self.read_sizes = self.expert_reads() if self.expert_count else self.layer_reads()

    @staticmethod
    def read_header(path):
        """[(name, shape, begin, bytes)]"""
        with open(path, "rb") as f:
            length = struct.unpack("<Q", f.read(8))[0]
            header = json.loads(f.read(length))
        return sorted(((name, t["shape"], t["data_offsets"][0], t["data_offsets"][1] - t["data_offsets"][0])
                       for name, t in header.items() if name != "__metadata__"), key=lambda tensor: tensor[2])

    def expert_reads(self):
        """{bytes of a read: how many of one expert's}: a part of a stack each, or a record where parts follow each other."""
        sizes, record = {}, {}
        for name, shape, begin, size in self.tensors:
            single = re.search(r"^(.*\.experts\.\d+)\.", name)
            if single:
                record.setdefault(single[1], []).append((begin, size))
            elif ".experts." in name and shape and shape[0] == self.expert_count:
                part = size // self.expert_count
                sizes[part] = sizes.get(part, 0) + 1
        for parts in record.values():
            at = run = 0
            for begin, size in parts:
                if run and begin != at:
                    sizes[run] = sizes.get(run, 0) + 1
                    run = 0
                run += size
                at = begin + size
            sizes[run] = sizes.get(run, 0) + 1
        return sizes

    def layer_reads(self):
        """Of a dense model's layers, which are read whole and in pieces."""
        sizes = {}
        for name, _, _, size in self.tensors:
            if ".layers." not in name or size < ALIGN:
                continue
            for piece, count in ((PIECE_BYTES, size // PIECE_BYTES), (size % PIECE_BYTES, 1)):
                if piece and count:
                    sizes[piece] = sizes.get(piece, 0) + count
        return sizes

    def windows(self):
        """The reads as the disk sees them: [(bytes rounded outward to blocks, share of all reads)]."""
        total, found = sum(self.read_sizes.values()), {}
        for size, count in self.read_sizes.items():
            rounded = -(-size // ALIGN) * ALIGN
            found[rounded] = found.get(rounded, 0) + count / total
        return sorted(found.items())

    def mean_read(self):
        return sum(size * share for size, share in self.windows())

    def depth(self):
        """Reads under way at once: those of a layer's chosen experts, or as many as the engine's ring has."""
        if not self.expert_count:
            return 32
        reads = round(sum(self.read_sizes.values()) / max(1, self.layer_parts()))
        return max(4, min(128, self.used_count * reads))

    def layer_parts(self):
        """How many experts (of stacks: kinds of experts) the counts in read_sizes are of."""
        singles = {m[1] for m in (re.search(r"^(.*\.experts\.\d+)\.", name) for name, *_ in self.tensors) if m}
        if singles:
            return len(singles)
        return len({m[0] for m in (re.search(r"layers\.\d+\.", name) for name, *_ in self.tensors if ".experts." in name) if m})

    def drop(self):
        for path in self.files:
            with open(path, "rb") as f:
                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# ---- the disk, alone ---------------------------------------------------------------------------------------------


def fio(windows, depth, files, seconds, is_in_order=False):
    """Bytes a second of direct reads of these sizes at this depth, in random order or in that of the files."""
    percents = [max(1, round(100 * share)) for _, share in windows]
    percents[percents.index(max(percents))] += 100 - sum(percents)
    split = ":".join("%d/%d" % (size, percent) for (size, _), percent in zip(windows, percents))
    command = ["fio", "--name=r", "--filename=" + ":".join(path.replace(":", "\\:") for path in files), "--rw=read" if is_in_order else "--rw=randread",
               "--bssplit=" + split, "--blockalign=%d" % ALIGN, "--direct=1", "--ioengine=io_uring", "--iodepth=%d" % depth,
               "--runtime=%g" % seconds, "--time_based", "--readonly", "--norandommap", "--randrepeat=0",
               "--output-format=json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit("bars: fio failed: %s" % (done.stderr.strip() or done.stdout.strip())[-400:])
    job = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]
    return job["read"]["bw_bytes"]


# ---- leat --------------------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, a):
        self.a, self.point = a, Checkpoint(a.checkpoint)
        dice = random.Random(5)
        self.ids = [dice.randrange(3, min(self.point.vocab, 100000) - 3) for _ in range(4096)]
        self.values = {}  # (what, budget) -> [value of each round]
        self.rates = []

    def disk_rate(self):
        """One run of fio; the median of all of them is what is compared with."""
        self.rates.append(fio(self.point.windows(), self.point.depth(), self.point.files, self.a.fio_seconds,
                              is_in_order=not self.point.expert_count))
        return self.rates[-1]

    def plan(self, *options):
        command = [self.a.leat, "plan", self.point.folder, "--json", "--ctx", str(self.a.ctx), *self.extra(), *options]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    def extra(self):
        return (["--threads", str(self.a.threads)] if self.a.threads else []) + shlex.split(self.a.options)

    def leat(self, budget, prompt_count, count):
        """The document of `leat run --json`."""
        time.sleep(self.a.settle)
        command = [self.a.leat, "run", self.point.folder, "--tokens", ",".join(map(str, self.ids[:prompt_count])), "-n", str(count),
                   "--ctx", str(self.a.ctx), "--ram", str(budget), "--ignore-eos", "--json", "-q", *SAMPLING, *self.extra()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit("bars: leat failed: %s" % done.stderr.strip()[-400:])
        return json.loads(done.stdout)

    def note(self, what, budget, value):
        self.values.setdefault((what, budget), []).append(value)

    def median(self, what, budget):
        return statistics.median(self.values[what, budget])

    # ---- one round of each part ----

    def decode(self, budget):
        """Two runs, of which one ends when the caches are warm: the difference is the window."""
        self.note("fio", budget, self.disk_rate())
        for kind, count in (("short", 1 + self.a.warm), ("long", 1 + self.a.warm + self.a.window)):
            answer = self.leat(budget, self.a.fill, count)
            parts = answer["times"]["parts"]
            for name, value in (("decode_s", answer["timings"]["decode_s"]), ("bytes", needed_bytes(answer)),
                                ("read_bytes", answer["io"]["read_bytes"]), ("wait_s", parts["disk_wait_s"]),
                                ("arithmetic_s", sum(parts[name] for name in ARITHMETIC))):
                self.note(kind + name, budget, value)
        self.note("p50_s", budget, answer["timings"]["decode_p50_s"])
        self.note("streamed", budget, answer["memory"]["streamed_bytes_per_step"])

    def per_token(self, what, budget):
        return (self.median("long" + what, budget) - self.median("short" + what, budget)) / self.a.window

    def prompt(self, budget):
        self.note("prompt fio", budget, self.disk_rate())
        answer = self.leat(budget, self.a.prompt, 1)
        self.note_first("prompt", budget, answer)

    def cold(self, budget):
        self.note("cold fio", budget, self.disk_rate())
        self.point.drop()
        if self.a.drop_caches:
            os.sync()
            with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
                f.write("3")
        answer = self.leat(budget, 16, 1)
        self.note_first("cold", budget, answer)
        self.note("cold ready_s", budget, find_value(answer, "ready_s"))

    def note_first(self, what, budget, answer):
        """An engine that tells when it is ready loads while it computes: all bytes then belong to the first token."""
        is_whole = what == "cold" or find_value(answer, "ready_s") is not None
        loaded = next(pool["current_bytes"] for pool in answer["memory"]["pools"] if pool["name"] == "trunk")
        sweep = needed_bytes(answer) - (0 if is_whole else loaded)
        first = answer["timings"]["first_token_s"] + (answer["timings"]["load_s"] if is_whole else 0)
        for name, value in (("first_s", first), ("bytes", sweep),
                            ("arithmetic_s", sum(answer["times"]["parts"][name] for name in ARITHMETIC))):
            self.note("%s %s" % (what, name), budget, value)

    def read(self, _):
        """storage_bench and fio at the mean size of a read; bytes a second and CPU seconds a second."""
        size = round(self.point.mean_read() / ALIGN) * ALIGN
        depth = min(64, self.point.depth())
        largest = max(self.point.files, key=os.path.getsize)
        self.note("read fio", 0, fio([(size, 1)], depth, [largest], self.a.fio_seconds))
        command = [self.a.storage_bench, largest, str(size), str(depth), str(self.a.read_bytes), "4"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        found = re.findall(r"(\d+\.\d+) \([^)]*\)\s+(\d+\.\d+)", lines[-1])
        for name, (rate, cpu) in zip(("plain", "threads", "uring"), found):
            self.note("read " + name, 0, float(rate) * 1e9)
            self.note("read cpu " + name, 0, float(rate) * float(cpu))
        self.read_size, self.read_depth = size, depth

    def peer(self, budget):
        time.sleep(self.a.settle)
        environment = dict(os.environ, BARS_BUDGET_BYTES=str(budget), BARS_CHECKPOINT=self.point.folder,
                           BARS_TOKEN_COUNT=str(self.a.window))
        done = subprocess.run(self.a.peer, shell=True, capture_output=True, text=True, check=False, env=environment)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            sys.exit("bars: --peer: exit %d: %s" % (done.returncode, done.stderr.strip()[-400:] or "no line of JSON"))
        for name, value in json.loads(lines[-1]).items():
            if isinstance(value, (int, float)):
                self.note("peer " + name, budget, value)

    # ---- all rounds ----

    def run(self):
        everything = self.plan()["everything_bytes"]
        available = next(int(line.split()[1]) << 10 for line in open("/proc/meminfo", encoding="ascii") if "MemAvailable" in line)
        self.everything = everything if everything < 0.8 * available and not self.a.no_everything else None
        budgets = self.a.budgets or [everything // 2]
        jobs = [(part, budget) for part in self.a.parts for budget in (budgets if part != "read" else [0])]
        if "decode" in self.a.parts and self.everything and self.everything not in budgets:
            jobs.append(("decode", self.everything))
        for turn in range(self.a.rounds):
            for part, budget in jobs[turn % len(jobs):] + jobs[:turn % len(jobs)]:
                say("round %d of %d: %s %s" % (turn + 1, self.a.rounds, part, mib(budget) if budget else ""))
                getattr(self, part)(budget)
        self.budgets = budgets

    # ---- what it comes to ----

    def decode_row(self, budget):
        seconds, missed = self.per_token("decode_s", budget), self.per_token("bytes", budget)
        seconds = max(seconds, 1e-9)
        rate = self.median("fio", budget)
        own = self.per_token("arithmetic_s", budget)
        compute = max(1e-9, self.per_token("decode_s", self.everything) if self.everything else own)
        disk = missed / rate
        row = {"budget_bytes": budget, "tok_s": 1 / seconds, "median_token_s": self.median("p50_s", budget), "missed_bytes": missed,
               "read_bytes": self.per_token("read_bytes", budget), "fio_bytes_s": rate, "disk_limit_s": disk, "compute_limit_s": compute,
               "compute_is": "a run with everything in memory" if self.everything else "this run's own arithmetic",
               "wait_s": self.per_token("wait_s", budget), "arithmetic_s": own, "ratio": max(disk, compute) / seconds}
        streamed = self.median("streamed", budget)
        if not self.point.expert_count and streamed:
            row["unpinned_bytes"], row["dense_ratio"] = streamed, streamed / rate / seconds
        return row

    def first_row(self, what, budget):
        seconds, sweep = self.median(what + " first_s", budget), self.median(what + " bytes", budget)
        rate = self.median(what + " fio", budget)
        compute = self.median(what + " arithmetic_s", budget) if what == "prompt" else 0
        row = {"budget_bytes": budget, "first_token_s": seconds, "bytes": sweep, "fio_bytes_s": rate, "disk_s": sweep / rate,
               "compute_s": compute, "times_limit": seconds / max(sweep / rate, compute)}
        if what == "cold":
            known = [value for value in self.values["cold ready_s", budget] if value is not None]
            row["ready_s"] = statistics.median(known) if known else None
        return row

    def read_row(self):
        base = self.median("read fio", 0)
        row = {"bytes": self.read_size, "depth": self.read_depth, "fio_bytes_s": base}
        for name in ("plain", "threads", "uring"):
            if ("read " + name, 0) in self.values:
                row[name + "_bytes_s"] = self.median("read " + name, 0)
                row[name + "_ratio"] = self.median("read " + name, 0) / base
                row[name + "_cpu_share"] = self.median("read cpu " + name, 0)
        return row

    def peer_row(self, budget, decode):
        row = {"budget_bytes": budget}
        for (what, of), _ in self.values.items():
            if of == budget and what.startswith("peer "):
                row[what[5:]] = self.median(what, budget)
        if decode and row.get("tok_s"):
            row["leat_tok_s"] = decode["tok_s"]
            row["times_peer"] = decode["tok_s"] / row["tok_s"]
        return row

    def document(self):
        parts = self.a.parts
        decode = [self.decode_row(b) for b in dict.fromkeys(self.budgets + [self.everything or self.budgets[0]])] \
            if "decode" in parts else []
        by_budget = {row["budget_bytes"]: row for row in decode}
        return {
            "schema": "leat.bars/1", "machine": machine(), "arguments": " ".join(shlex.quote(word) for word in self.said()),
            "checkpoint": {"name": os.path.basename(self.point.folder), "bytes": self.point.bytes,
                           "read_sizes": self.point.windows(), "depth": self.point.depth(), "file_count": len(self.point.files)},
            "rounds": self.a.rounds, "warm_tokens": self.a.warm, "window_tokens": self.a.window, "settle_s": self.a.settle,
            "decode": decode,
            "prompt": [self.first_row("prompt", b) for b in self.budgets] if "prompt" in parts else [],
            "cold": [self.first_row("cold", b) for b in self.budgets] if "cold" in parts else [],
            "read": [self.read_row()] if "read" in parts else [],
            "peer": [self.peer_row(b, by_budget.get(b)) for b in self.budgets] if "peer" in parts else [],
            "fio_bytes_s": sorted(self.rates),
            "values": {"%s at %d" % key: value for key, value in self.values.items()},
        }

    def said(self):
        """The command line without the places of this machine."""
        return [os.path.basename(word) if os.path.isabs(word) else word for word in sys.argv[1:]]


def find_value(document, name):
    """The first value of that name at any depth, or None: where an engine tells of what others do not have."""
    if isinstance(document, dict):
        if name in document:
            return document[name]
        document = list(document.values())
    if isinstance(document, list):
        return next((value for value in (find_value(item, name) for item in document) if value is not None), None)
    return None


def needed_bytes(answer):
    """What was read without guesses that came to nothing: those must not make the limit look lower."""
    return answer["io"]["payload_bytes"] - (find_value(answer, "wasted_bytes") or 0)


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="ascii", errors="replace")
                  if line.startswith("model name")), platform.processor())
    memory = next(int(line.split()[1]) for line in open("/proc/meminfo", encoding="ascii") if "MemTotal" in line)
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "memory_kib": memory, "kernel": platform.release(),
            "load": os.getloadavg()[0]}


# ---- tables ------------------------------------------------------------------------------------------------------


def mib(count):
    return "%.0f MiB" % (count / (1 << 20))


def table(title, rows, columns):
    """columns: (heading, key, form); a row without the key has an empty cell."""
    if not rows:
        return ""
    lines = ["### " + title, "", "| %s |" % " | ".join(name for name, _, _ in columns), "|" + "---|" * len(columns)]
    for row in rows:
        cells = ["" if row.get(key) is None else form(row[key]) if callable(form) else form % row[key] for _, key, form in columns]
        lines.append("| %s |" % " | ".join(cells))
    return "\n".join(lines) + "\n"


def gb(rate):
    return "%.2f" % (rate / 1e9)


def mb(count):
    return "%.1f" % (count / 1e6)


def markdown(d):
    head = "## Bars on %s\n\n%s, %d cores, %.1f GiB, Linux %s, load %.1f at the end. Medians of %d rounds; fio %s to %s GB/s.\n" % (
        d["checkpoint"]["name"], d["machine"]["cpu"], d["machine"]["cores"], d["machine"]["memory_kib"] / (1 << 20),
        d["machine"]["kernel"], d["machine"]["load"], d["rounds"], gb(min(d["fio_bytes_s"] or [0])), gb(max(d["fio_bytes_s"] or [0])))
    head += "Reads of %s bytes, depth %d.\n\n    bench/bars.py %s\n" % (
        ", ".join("%d (%.0f %%)" % (size, 100 * share) for size, share in d["checkpoint"]["read_sizes"]), d["checkpoint"]["depth"],
        d["arguments"])
    parts = [
        head,
        table("Decoding", d["decode"], (("budget", "budget_bytes", mib), ("tok/s", "tok_s", "%.3f"), ("MB missed a token", "missed_bytes", mb),
              ("fio GB/s", "fio_bytes_s", gb), ("disk limit s", "disk_limit_s", "%.4f"), ("compute limit s", "compute_limit_s", "%.4f"),
              ("waited s", "wait_s", "%.4f"), ("of the limit", "ratio", "%.2f"), ("of bandwidth / unpinned", "dense_ratio", "%.2f"))),
        table("First token of the prompt", d["prompt"], first_columns()),
        table("Cold start, 16 tokens", d["cold"], first_columns() + (("ready s", "ready_s", "%.3f"),)),
        table("Read path", d["read"], (("bytes", "bytes", "%d"), ("depth", "depth", "%d"), ("fio GB/s", "fio_bytes_s", gb),
              ("threads / fio", "threads_ratio", "%.2f"), ("uring / fio", "uring_ratio", "%.2f"), ("plain / fio", "plain_ratio", "%.2f"),
              ("CPU of wall, threads", "threads_cpu_share", "%.3f"), ("CPU of wall, uring", "uring_cpu_share", "%.3f"))),
        table("Side by side", d["peer"], (("budget", "budget_bytes", mib), ("leat tok/s", "leat_tok_s", "%.3f"), ("peer tok/s", "tok_s", "%.3f"),
              ("leat / peer", "times_peer", "%.2f"), ("peer's first token s", "first_token_s", "%.2f"),
              ("peer's major faults", "major_faults", "%d"))),
    ]
    return "\n".join(part for part in parts if part)


def first_columns():
    return (("budget", "budget_bytes", mib), ("first token s", "first_token_s", "%.3f"), ("MB read", "bytes", mb), ("fio GB/s", "fio_bytes_s", gb),
            ("disk s", "disk_s", "%.3f"), ("arithmetic s", "compute_s", "%.3f"), ("times the limit", "times_limit", "%.2f"))


# ---- the command line --------------------------------------------------------------------------------------------


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("leat")
    parser.add_argument("checkpoint")
    parser.add_argument("--parts", default="", help="of decode,prompt,cold,read,peer; without: all that can be")
    parser.add_argument("--budgets", default="", help="8G,4G,2560M; without: half of what everything takes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fill", type=int, default=64, help="tokens of the prompt before decoding; they fill the caches")
    parser.add_argument("--warm", type=int, default=16, help="tokens decoded before the window")
    parser.add_argument("--window", type=int, default=32, help="tokens in the window")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the long prompt")
    parser.add_argument("--ctx", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--options", default="", help="more options of leat run and plan, in one word")
    parser.add_argument("--settle", type=float, default=5, help="seconds of rest before each run of leat or the peer")
    parser.add_argument("--fio-seconds", type=float, default=3)
    parser.add_argument("--read-bytes", default="512M", help="what a round of storage_bench reads")
    parser.add_argument("--no-everything", action="store_true", help="no runs with everything in memory: the compute limit is then each "
                        "run's own time of arithmetic")
    parser.add_argument("--drop-caches", action="store_true", help="cold: drop the whole page cache, which only root may")
    parser.add_argument("--peer", default="", help="a shell command that decodes with another program and prints a last line "
                        '{"tok_s": x, "first_token_s": y, "major_faults": n}; it finds BARS_BUDGET_BYTES, BARS_CHECKPOINT and '
                        "BARS_TOKEN_COUNT in its environment")
    parser.add_argument("--storage-bench", default="", help="where it is, if not beside LEAT's build")
    parser.add_argument("--out", default="", help="also write OUT.json and OUT.md")
    a = parser.parse_args()
    a.leat = os.path.abspath(a.leat)
    a.parts = a.parts.split(",") if a.parts else [part for part in PARTS if part != "peer" or a.peer]
    if set(a.parts) - set(PARTS):
        parser.error("--parts: unknown: %s" % ", ".join(set(a.parts) - set(PARTS)))
    if "peer" in a.parts and not a.peer:
        parser.error("the part peer needs --peer")
    a.budgets = [size_of(word) for word in a.budgets.split(",")] if a.budgets else []
    a.storage_bench = a.storage_bench or os.path.join(os.path.dirname(a.leat), "..", "..", "bench", "storage_bench")
    return a


def main():
    a = read_arguments()
    if not shutil.which("fio"):
        say("SKIPPED: fio is not installed: there is no bandwidth to compare with, nothing was measured")
        return 77
    bench = Bench(a)
    bench.run()
    document = bench.document()
    text = markdown(document)
    print(text)
    if a.out:
        with open(a.out + ".json", "w", encoding="utf-8") as f:
            json.dump(document, f, indent=1)
        with open(a.out + ".md", "w", encoding="utf-8") as f:
            f.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

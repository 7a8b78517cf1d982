#!/usr/bin/env python3
"""Times llama.cpp with mapped weights, for comparisons with leat under the same memory limit.

    peer_llama.py FILE.gguf [-n 16] [--prompt IDS] [--feed IDS] [--ctx 1024] [--threads N] [--ram SIZE] [--drop-cache]
                  [--read-ahead KIB]

Evaluates the prompt, then decodes token by token: greedily, or with --feed the given ids, whatever the model prefers.
Prints one line of JSON: tok_s, first_token_s (from the loaded model to the prompt's end), load_s, token_s (seconds of
each further token), major_faults and read_bytes of the whole process, decode_major_faults, decode_read_bytes, tokens,
and with --ram peak_bytes of the group. Weights stay in the mapping: mlock and the repacking that would copy them are
off; all else is llama.cpp's default.

--ram runs it in a memory cgroup of that size, in which page cache counts. --drop-cache takes the file out of the page
cache before; without that, pages that another group read before cost this one nothing. --read-ahead sets it for the
file's block device and puts the old value back. Both may need root. Needs llama-cpp-python (and its numpy).
"""
import argparse
import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden"))
from memory_group import memory_group  # noqa: E402

GGML_LOG_LEVEL_ERROR = 4
UNITS = {"K": 10, "M": 20, "G": 30}
PROMPT = ",".join(str(i) for i in range(1, 17))


def parse_size(text):
    text = text.upper().removesuffix("IB")
    return int(float(text[:-1]) * (1 << UNITS[text[-1]])) if text[-1] in UNITS else int(text)


def parse_ids(text):
    return [int(word) for word in text.replace(",", " ").split()]


def queue_folder(path):
    """The queue of the disk that holds the file, also where the file system lies on a partition."""
    number = os.stat(path).st_dev
    folder = os.path.realpath("/sys/dev/block/%d:%d" % (os.major(number), os.minor(number)))
    return next((os.path.join(f, "queue") for f in (folder, os.path.dirname(folder))
                 if os.path.isdir(os.path.join(f, "queue"))), None)


@contextlib.contextmanager
def read_ahead(path, kib):
    """Read-ahead of the file's disk, for the time of the block."""
    folder = queue_folder(path)
    if not folder:
        sys.exit("peer_llama: %s lies on no block device" % path)
    name = os.path.join(folder, "read_ahead_kb")
    with open(name, encoding="ascii") as file:
        before = file.read()

    def put(text):
        with open(name, "w", encoding="ascii") as out:
            out.write(text)

    put(str(kib))
    try:
        yield
    finally:
        put(before)


def drop_cache(path):
    """Takes the file out of the page cache. What is still to be written has to be written first."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


class Counters:
    def __init__(self):
        self.faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        with open("/proc/self/io", encoding="ascii") as file:
            self.read = next(int(line.split()[1]) for line in file if line.startswith("read_bytes"))


def log_errors(level, text, _):
    if level == GGML_LOG_LEVEL_ERROR:
        sys.stderr.write(text.decode(errors="replace"))


class Peer:
    def __init__(self, path, ctx, threads):
        try:
            import llama_cpp
        except ImportError as error:
            sys.exit("peer_llama: needs llama-cpp-python (%s)" % error)
        self.lib = lib = llama_cpp
        self.log = lib.llama_log_callback(log_errors)  # kept as long as the library may call it
        lib.llama_log_set(self.log, ctypes.c_void_p())
        lib.llama_backend_init()
        model = lib.llama_model_default_params()
        model.n_gpu_layers, model.use_extra_bufts = 0, False
        if hasattr(lib, "LLAMA_LOAD_MODE_MMAP"):
            model.load_mode = lib.LLAMA_LOAD_MODE_MMAP
        else:  # older releases
            model.use_mmap, model.use_mlock = True, False
        self.model = lib.llama_model_load_from_file(path.encode(), model)
        context = lib.llama_context_default_params()
        context.n_ctx, context.n_threads, context.n_threads_batch = ctx, threads, threads
        self.context = self.model and lib.llama_init_from_model(self.model, context)
        if not self.context:
            sys.exit("peer_llama: llama.cpp does not load %s" % path)
        self.vocab_size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))

    def decode(self, ids):
        """Evaluates the tokens and returns the likeliest next one."""
        import numpy
        array = (self.lib.llama_token * len(ids))(*ids)  # the batch only points at it
        if self.lib.llama_decode(self.context, self.lib.llama_batch_get_one(array, len(ids))):
            sys.exit("peer_llama: llama_decode failed")
        logits = self.lib.llama_get_logits_ith(self.context, -1)
        return int(numpy.ctypeslib.as_array(logits, (self.vocab_size,)).argmax())


def measure(a):
    begin = time.monotonic()
    peer = Peer(a.file, a.ctx, a.threads)
    loaded = time.monotonic()
    feed, count = parse_ids(a.feed), a.tokens
    tokens = [peer.decode(parse_ids(a.prompt))]
    first, at_first = time.monotonic(), Counters()
    times = []
    for i in range(count - 1):
        start = time.monotonic()
        tokens.append(peer.decode([feed[i] if i < len(feed) else tokens[-1]]))
        times.append(round(time.monotonic() - start, 4))
    end = Counters()
    return {
        "tok_s": len(times) / sum(times) if times else None, "first_token_s": first - loaded, "load_s": loaded - begin,
        "tokens": count, "major_faults": end.faults, "read_bytes": end.read,
        "decode_major_faults": end.faults - at_first.faults, "decode_read_bytes": end.read - at_first.read,
        "ids": tokens, "token_s": times,
    }


def enter(group):
    """Puts the calling process into the group."""
    with open(group.path("cgroup.procs"), "w", encoding="ascii") as file:
        file.write("0")


def run_limited(arguments, limit_bytes):
    """The same program without --ram, in a group of that size."""
    with memory_group(limit_bytes) as group:
        done = subprocess.run([sys.executable, os.path.abspath(__file__), *arguments], check=False,
                              preexec_fn=lambda: enter(group), stdout=subprocess.PIPE)
        if done.returncode:
            sys.exit("peer_llama: ended with %d, %d killed for memory" % (done.returncode, group.kill_count()))
        return {**json.loads(done.stdout), "peak_bytes": group.peak_bytes()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file")
    parser.add_argument("-n", "--tokens", type=int, default=16)
    parser.add_argument("--prompt", default=PROMPT, metavar="IDS")
    parser.add_argument("--feed", default="", metavar="IDS", help="decode these in place of the likeliest tokens")
    parser.add_argument("--ctx", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--ram", type=parse_size, metavar="SIZE")
    parser.add_argument("--drop-cache", action="store_true")
    parser.add_argument("--read-ahead", type=int, metavar="KIB")
    a = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was changed is put back
    with read_ahead(a.file, a.read_ahead) if a.read_ahead else contextlib.nullcontext():
        if a.drop_cache:
            drop_cache(a.file)
        if a.ram:
            inner = [a.file, "-n", str(a.tokens), "--prompt", a.prompt, "--feed", a.feed, "--ctx", str(a.ctx),
                     "--threads", str(a.threads)]
            print(json.dumps(run_limited(inner, a.ram)))
        else:
            print(json.dumps(measure(a)))


if __name__ == "__main__":
    main()

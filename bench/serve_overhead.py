#!/usr/bin/env python3
"""What the server costs over `leat run`: tokens a second, and milliseconds to the first byte, on one model.

    serve_overhead.py LEAT [MODEL] [--rounds 5] [--tokens 512] [--prompt 32] [--ram 256M] [--json] [--check]

LEAT is the program of a release build; MODEL is the bundled one by default. Both ways answer the same prompt with the same seed
and must give the same text. They take turns, round by round, and the order changes with each round.

    tokens a second   from a quarter of the answer's bytes to their end, as they arrive at a pipe or at a socket: what the caches
                      of a fresh process have to be filled with is over by then. The bar is a loss below 3 %.
    first byte        from sending a request on an open connection to the first text of its answer, less the time in which the
                      server says that the engine read the prompt (timings.prompt_ms): HTTP, JSON, the queue, sampling one token and
                      the event that carries it. The bar is 2 ms.

Prints medians and their ratio; --json one object instead. --check exits with 1 when a bar is missed. Standard library only.
"""
import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import time

RATE_BAR, FIRST_BYTE_BAR_MS = 0.97, 2.0
SEED = 11


def prompt_ids(count):
    """Ids that every vocabulary has, behind a usual BOS."""
    return [2] + [300 + 7 * i % 700 for i in range(count - 1)]


class Answer:
    """Pieces of text with the time of their arrival."""

    def __init__(self):
        self.begin = time.perf_counter()
        self.pieces = []

    def take(self, piece):
        if piece:
            self.pieces.append((time.perf_counter(), piece))

    def text(self):
        return b"".join(piece for _, piece in self.pieces).decode("utf-8", "replace")

    def tokens_per_second(self, token_count):
        total, seen = sum(len(piece) for _, piece in self.pieces), 0
        for at, piece in self.pieces:
            seen += len(piece)
            if seen * 4 >= total:
                share = (total - seen) / total
                return token_count * share / (self.pieces[-1][0] - at)
        return 0.0


def run_once(options, ids):
    command = [options.leat, "run", options.model, "--tokens", ",".join(map(str, ids)), "--seed", str(SEED), "--ignore-eos",
               "--max-tokens", str(options.tokens), "--ram", options.ram]
    answer = Answer()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as program:
        while True:
            piece = os.read(program.stdout.fileno(), 65536)
            if not piece:
                break
            answer.take(piece)
    if program.returncode != 0:
        sys.exit("serve_overhead: leat run ended with %d" % program.returncode)
    return answer


class Server:
    def __init__(self, options):
        command = [options.leat, "serve", options.model, "--port", "0", "--ram", options.ram]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            found = re.search(r"listening on http://([\d.]+):(\d+)", line)
            if found:
                break
        else:
            sys.exit("serve_overhead: the server did not begin to listen")
        self.connection = http.client.HTTPConnection(found[1], int(found[2]), timeout=60)
        while self.get("/health") != 200:
            time.sleep(0.05)

    def get(self, path):
        self.connection.request("GET", path)
        reply = self.connection.getresponse()
        reply.read()
        return reply.status

    def complete(self, options, ids):
        """The answer and the `timings` that came with it."""
        body = json.dumps({"prompt": ids, "max_tokens": options.tokens, "seed": SEED, "ignore_eos": True, "stream": True,
                           "cache_prompt": False, "stream_options": {"include_usage": True}})
        answer, timings = Answer(), None
        self.connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        reply = self.connection.getresponse()
        if reply.status != 200:
            sys.exit("serve_overhead: %d %s" % (reply.status, reply.read().decode()))
        for line in iter(reply.readline, b""):
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if event["choices"]:
                answer.take(event["choices"][0]["text"].encode())
            timings = event.get("timings") or timings
        return answer, timings

    def close(self):
        self.connection.close()
        self.process.terminate()
        self.process.stderr.read()
        self.process.wait()


def measure(options):
    ids = prompt_ids(options.prompt)
    figures = {"run_tokens_per_s": [], "serve_tokens_per_s": [], "first_byte_ms": []}
    server = Server(options)
    try:
        server.complete(options, ids)
        for number in range(options.rounds):
            turns = ["run", "serve"] if number % 2 else ["serve", "run"]
            texts = {}
            for turn in turns:
                if turn == "run":
                    answer = run_once(options, ids)
                else:
                    answer, timings = server.complete(options, ids)
                    first_ms = (answer.pieces[0][0] - answer.begin) * 1e3
                    figures["first_byte_ms"].append(first_ms - timings["prompt_ms"])
                figures[turn + "_tokens_per_s"].append(answer.tokens_per_second(options.tokens))
                texts[turn] = answer.text()
            if texts["run"] != texts["serve"]:
                sys.exit("serve_overhead: the server's text is not that of leat run")
    finally:
        server.close()
    return figures


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("leat")
    parser.add_argument("model", nargs="?", default=os.path.join(root, "models", "brook"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--prompt", type=int, default=32, help="tokens of the prompt")
    parser.add_argument("--ram", default="256M")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    figures = measure(options)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    ratio = statistics.median(s / r for s, r in zip(figures["serve_tokens_per_s"], figures["run_tokens_per_s"]))
    if options.json:
        print(json.dumps({"medians": medians, "ratio": ratio, "rounds": figures}))
    else:
        print("leat run     %8.1f tokens/s" % medians["run_tokens_per_s"])
        print("leat serve   %8.1f tokens/s, %.3f of leat run (bar %.2f)" % (medians["serve_tokens_per_s"], ratio, RATE_BAR))
        print("first byte   %8.2f ms beyond the prompt (bar %.1f)" % (medians["first_byte_ms"], FIRST_BYTE_BAR_MS))
    is_met = ratio >= RATE_BAR and medians["first_byte_ms"] < FIRST_BYTE_BAR_MS
    sys.exit(1 if options.check and not is_met else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Speed of leat's tokenizers beside the libraries that define them, on one thread, interleaved.

    tokenizer_compare.py TOKENIZER_BENCH FOLDER... --texts FILE... [--megabytes 1] [--rounds 5]

Needs the packages tokenizers (for tokenizer.json), sentencepiece (tokenizer.model) and tiktoken (tiktoken.model) in the
Python that runs it. Each round runs TOKENIZER_BENCH (built in bench/) and then the library on the same texts; the table
has the medians of MB/s and of the rounds' ratios. Exits with 1 when the numbers of ids differ.
"""
import argparse
import base64
import os
import re
import statistics
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
LINE = re.compile(r"(\S+) .*encode +[\d.]+ s +([\d.]+) MB/s +(\d+) ids")
# What tiktoken is to cut by; a list of ranks does not say it.
KIMI_LETTER = r"[^\r\n\p{L}\p{N}]?"
KIMI_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
KIMI_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
KIMI_END = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
KIMI_PATTERN = "|".join([
    r"[\p{Han}]+", KIMI_LETTER + KIMI_UPPER + "*" + KIMI_LOWER + "+" + KIMI_END,
    KIMI_LETTER + KIMI_UPPER + "+" + KIMI_LOWER + "*" + KIMI_END, r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])


def open_json(path):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(path)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def open_sentencepiece(path):
    import sentencepiece
    processor = sentencepiece.SentencePieceProcessor(model_file=path)
    return lambda text: len(processor.encode(text))


def open_tiktoken(path):
    import tiktoken
    rows = (line.split() for line in open(path, "rb"))
    ranks = {base64.b64decode(token): int(rank) for token, rank in rows}
    encoding = tiktoken.Encoding("kimi", pat_str=KIMI_PATTERN, mergeable_ranks=ranks, special_tokens={})
    return lambda text: len(encoding.encode_ordinary(text))


OPENERS = {"tokenizer.json": open_json, "tokenizer.model": open_sentencepiece, "tiktoken.model": open_tiktoken}


def find_tokenizer(folder):
    for name in OPENERS:
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name), name
    sys.exit("no tokenizer in " + folder)


def read_text(path, limit):
    with open(path, "rb") as file:
        return file.read(limit).decode("utf-8", "ignore")


def run_leat(bench, megabytes, tokenizer, paths):
    command = [bench, str(megabytes), tokenizer] + paths
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = [LINE.match(line) for line in lines]
    return [(float(m[2]), int(m[3])) for m in found if m]


def run_library(encode, text):
    start = time.monotonic()
    count = encode(text)
    return len(text.encode()) / 1e6 / (time.monotonic() - start), count


def compare(folder, options):
    tokenizer, kind = find_tokenizer(folder)
    encode = OPENERS[kind](tokenizer)
    texts = [read_text(path, int(options.megabytes * 1e6)) for path in options.texts]
    rows = [[] for _ in texts]
    same = True
    for _ in range(options.rounds):
        ours = run_leat(options.bench, options.megabytes, tokenizer, options.texts)
        for row, text, (speed, count) in zip(rows, texts, ours):
            other, other_count = run_library(encode, text)
            row.append((speed, other, speed / other))
            same = same and count == other_count
    cells = []
    for row in rows:
        speed, _, ratio = (statistics.median(column) for column in zip(*row))
        cells.append("%.1f | %.1f" % (speed, ratio))
    print("| %s | %s |%s" % (os.path.basename(folder), " | ".join(cells), "" if same else " IDS DIFFER"), flush=True)
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--texts", nargs="+", required=True)
    parser.add_argument("--megabytes", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    heads = ["%s, MB/s | x library" % os.path.basename(path) for path in options.texts]
    print("| tokenizer | " + " | ".join(heads) + " |\n|---" * 1 + "|---" * (2 * len(heads)) + "|")
    results = [compare(folder, options) for folder in options.folders]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())

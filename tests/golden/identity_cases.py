"""The same bits whatever the budget, thread count, chunk size, I/O mode and engine, and instruction set, in the memory
allowed.

Every two values of different settings meet in at least one run: each pair of settings is covered, not each combination.
"""
import hashlib
import json
import os

from covering import covering_runs
from leat_program import BUDGET_REFUSED, MIB, Case, Once, Skipped, expect_success, how_it_ended
from memory_group import group_hindrance, memory_group
from reference_cases import BROOK, brook_answers
from stored_arrays import read_safetensors

# What the process may hold beyond its budget.
ALLOWANCE_BYTES = 24 * MIB
CTX = 512

SETTINGS = {
    "isa": ("avx512", "avx2", "scalar"),  # quickest first: a setting that is free in a run takes its first value
    "ram": ("floor", "1.2x", "2x", "all"),
    "threads": (1, 2, 4),
    "prefill-chunk": (64, 512, 7, 1),
    "io": ("direct", "buffered"),
    "io-engine": ("threads", "uring"),
}


class Subject:
    """A model with the questions put to it. `text_args`: a run that ends by itself or by a count."""

    def __init__(self, leat, name, folder, ids, text_args):
        self.leat, self.name, self.folder = leat, name, folder
        self.ids_file = leat.tokens_file(ids)
        self.text_args = text_args
        self.reference = Once(self.make_reference)

    def make_reference(self):
        """One thread and everything resident; what differs from it is to blame for a difference."""
        options = ("--threads", "1", "--prefill-chunk", "64", "--io", "buffered", "--io-engine", "threads")
        return self.results(*options, "--ram", str(self.leat.plan(self.folder, *options)["everything_bytes"]))

    def results(self, *options):
        path = self.leat.file(".npy")
        args = self.eval_args(path, *options)
        expect_success(self.leat.run(*args), self.leat.shown(args))
        answer = self.leat.json(*self.run_args(*options))
        return file_digest(path), answer["text"], answer["tokens"]

    def eval_args(self, path, *options):
        return ("eval", self.folder, "--tokens", "@" + self.ids_file, "--logits", path, "-q", *options)

    def run_args(self, *options):
        return ("run", self.folder, *self.text_args, "--temp", "0", "--json", "-q", *options)


def file_digest(path):
    """Of the file, which goes."""
    with open(path, "rb") as stream:
        digest = hashlib.sha256(stream.read()).hexdigest()
    os.unlink(path)
    return digest


def budget_of(kind, plan):
    floor = plan["floor_bytes"]
    return {"floor": floor, "1.2x": floor * 12 // 10, "2x": floor * 2, "all": plan["everything_bytes"]}[kind]


def check_settings_in_use(answer, settings, budget, is_direct_possible, has_uring, must_stream):
    """The run did what it was asked to: a setting that is ignored would make all results equal.

    must_stream: the least budget cannot hold all experts (it can where the buffers for reading are larger)."""
    memory = answer["memory"]
    assert memory["budget_bytes"] == budget, "budget %d, asked for %d" % (memory["budget_bytes"], budget)
    assert memory["thread_count"] == settings["threads"], "%d threads" % memory["thread_count"]
    assert memory["prefill_chunk"] == settings["prefill-chunk"], "chunks of %d" % memory["prefill_chunk"]
    assert answer["isa"] == settings["isa"], "instruction set %s" % answer["isa"]
    assert answer["io"]["is_direct"] == (settings["io"] == "direct" and is_direct_possible), "%s reads" % (
        "direct" if answer["io"]["is_direct"] else "buffered")
    assert answer["io"]["engine"] == (settings["io-engine"] if has_uring else "threads"), "reads by %s" % answer["io"]["engine"]
    if must_stream and settings["ram"] == "floor":
        assert memory["expert_slot_count"] < memory["expert_slot_max"], "all experts fit the least budget"
        assert answer["experts"]["evictions"] > 0, "no expert was ever evicted"
    if settings["ram"] == "all":
        assert memory["expert_slot_count"] == memory["expert_slot_max"], "%d of %d experts fit" % (
            memory["expert_slot_count"], memory["expert_slot_max"])
        assert answer["experts"]["evictions"] == 0, "%d evictions" % answer["experts"]["evictions"]


def check_same(subject, settings, is_grouped, direct, has_uring):
    leat = subject.leat
    options = ["--ctx", str(CTX)]
    for name in ("threads", "prefill-chunk", "isa", "io", "io-engine"):
        options += ["--" + name, str(settings[name])]
    budget = budget_of(settings["ram"], leat.plan(subject.folder, *options))
    options += ["--ram", str(budget)]
    limits = {"budget_bytes": budget, "allowance_bytes": ALLOWANCE_BYTES, "is_grouped": is_grouped}
    digest, text, tokens = subject.reference()

    path = leat.file(".npy")
    leat.measure_in_budget(*subject.eval_args(path, *options), **limits)
    assert file_digest(path) == digest, "the logits file differs: " + leat.shown(subject.eval_args("OUT.npy", *options))

    shown = leat.shown(subject.run_args(*options))
    done = leat.measure_in_budget(*subject.run_args(*options), **limits)
    answer = json.loads(done.out)
    assert answer["tokens"] == tokens and answer["text"] == text, "%r, expected %r: %s" % (answer["text"], text, shown)
    check_settings_in_use(answer, settings, budget, direct(), has_uring(), subject.folder == BROOK)
    own = answer["memory"]["rss_peak_bytes"]
    # The kernel counts a thread's pages in batches, so that two readings may be a little apart.
    assert leat.has_sanitizer or abs(done.peak_bytes - own) <= 4 * MIB, "leat says a peak of %d, the kernel %d" % (
        own, done.peak_bytes)


def check_automatic(subject):
    """With everything left to the program."""
    got, wanted = subject.results(), subject.reference()
    assert got[0] == wanted[0], "the logits file differs"
    assert got[1:] == wanted[1:], "%r, expected %r" % (got[1:], wanted[1:])


def check_instruction_set(leat, isa):
    usable = leat.version()["instruction_sets"]
    if isa in usable:
        return
    done = leat.run("eval", BROOK, "--tokens", "2", "--isa", isa)
    assert done.code == 2 and isa in done.err, "%s: %s" % (how_it_ended(done), done.err.strip())
    raise Skipped("this CPU (or build) has %s only: no run was compared with %s" % (", ".join(usable), isa))


def check_direct_reads(direct):
    if not direct():
        raise Skipped("the file system below models/ refuses direct reads: --io direct was the same as buffered")


def check_uring(has_uring):
    if not has_uring():
        raise Skipped("this build or system has no io_uring: all runs read by threads")


# ---- memory ------------------------------------------------------------------------------------------------------


def check_least_budget(subject):
    """The floor is what the program says it is: one byte less is refused."""
    leat = subject.leat
    floor = leat.plan(subject.folder, "--ctx", str(CTX))["floor_bytes"]
    args = subject.run_args("--ctx", str(CTX), "--ram", str(floor - 1))
    done = leat.run(*args)
    assert done.code == BUDGET_REFUSED and not done.out, "%s: %s" % (how_it_ended(done), leat.shown(args))
    assert str(floor) in done.err, "the message does not name the floor %d: %s" % (floor, done.err.strip())
    expect_success(leat.run(*subject.run_args("--ctx", str(CTX), "--ram", str(floor))), "at the floor")


def check_long_text(leat, is_grouped):
    """From text to answer under the least budget: a long prompt costs what encoding it costs, too."""
    document, tensors = brook_answers()
    text = next(prompt for prompt in document["prompts"] if prompt["name"] == "passkey1500")["messages"][0]["content"]
    floor = leat.plan(BROOK)["floor_bytes"]
    done = leat.measure_in_budget("run", BROOK, text, "--temp", "0", "--json", "-q", "--ram", str(floor),
                                  budget_bytes=floor, allowance_bytes=ALLOWANCE_BYTES, is_grouped=is_grouped)
    got, wanted = json.loads(done.out)["tokens"], list(tensors["passkey1500.greedy_ids"].values)
    assert got == wanted, "%s, expected %s" % (got, wanted)


def check_measuring(leat):
    """The figure rises with what a program holds, and inherits nothing from this process."""
    held = bytearray(96 * MIB)
    small = leat.measure(program="/bin/true")
    assert small.code == 0 and small.peak_bytes < 16 * MIB, "/bin/true held %d bytes" % small.peak_bytes
    large = leat.measure("if=/dev/zero", "of=/dev/null", "bs=64M", "count=1", program="/bin/dd")
    assert large.code == 0 and large.peak_bytes >= 64 * MIB, "dd with 64 MiB held %d bytes" % large.peak_bytes
    assert len(held) == 96 * MIB


def check_group_kills(subject):
    """A run in a group of half its size dies: the limit is in force in the other runs too."""
    leat = subject.leat
    everything = leat.plan(subject.folder, "--ctx", str(CTX))["everything_bytes"]
    # Without --force it would refuse by itself: the group is the machine that it sees.
    options = ("--ctx", str(CTX), "--ram", str(everything), "--io", "direct", "--force", "--pressure", "off")
    args = subject.run_args(*options)
    peak = leat.measure(*args).peak_bytes
    with memory_group(peak // 2) as group:
        done = leat.measure(*args, group=group)
    assert done.signal == 9 and done.group_kills > 0, "a run of %d bytes lived in %d: %s" % (
        peak, peak // 2, how_it_ended(done))


def check_groups(subject, hindrance):
    if subject.leat.has_sanitizer:
        raise Skipped("this build has sanitizers, whose memory no budget knows of: peaks were not compared")
    if hindrance:
        raise Skipped("%s: peaks were measured, but no run was held to its size" % hindrance)
    check_group_kills(subject)


# ---- all of them -------------------------------------------------------------------------------------------------


def brook_subject(leat):
    """The prompt is longer than the window and than two chunks of 64."""
    tensors = brook_answers()[1]
    return Subject(leat, "brook", BROOK, list(tensors["tool_result.prompt_ids"].values),
                   ("Tell me a story about a tiger.", "-n", "64"))


def checkpoint_subject(leat, base, name):
    folder = os.path.join(base, name)
    ids = list(read_safetensors(os.path.join(folder, "expected.safetensors"))["tokens"].values)
    return Subject(leat, name, folder, ids, ("--tokens", ",".join(map(str, ids)), "-n", "24", "--ignore-eos"))


def check_packed(subject):
    """The pack gives the source's text and logits, at its least budget and with everything in memory."""
    leat = subject.leat
    args = ("pack", subject.folder, leat.file(".packed") + ".folder", "-q")
    expect_success(leat.run(*args), leat.shown(args))
    packed = Subject(leat, subject.name, args[2], [], subject.text_args)
    packed.ids_file = subject.ids_file
    for ram, io in (("floor", "auto"), ("floor", "buffered"), ("all", "auto")):
        options = ["--ctx", str(CTX), "--io", io]
        budget = budget_of(ram, leat.plan(packed.folder, *options))
        found = packed.results(*options, "--ram", str(budget))
        assert found == subject.reference(), "%s, %s reads: the pack answers otherwise" % (ram, io)


def guessed_seconds(subject, settings):
    seconds = (30 if settings["isa"] == "scalar" else 3) * (1.5 if settings["prefill-chunk"] < 64 else 1)
    return seconds if subject.folder == BROOK else 0.5


def identity_cases(leat, base):
    hindrance = group_hindrance()
    is_grouped = hindrance is None and not leat.has_sanitizer
    usable = leat.version()["instruction_sets"]
    settings = dict(SETTINGS, isa=tuple(isa for isa in SETTINGS["isa"] if isa in usable))
    brook = brook_subject(leat)
    has_uring = Once(lambda: (leat.json("run", BROOK, "--tokens", "2", "-n", "1", "--json", "-q", "--io-engine", "uring")
                              ["io"]["engine"] == "uring",))
    direct = Once(lambda: (leat.json("run", BROOK, "--tokens", "2", "-n", "1", "--json", "-q", "--io", "direct")["io"]
                           ["is_direct"],))
    cases = []
    for subject in (brook, checkpoint_subject(leat, base, "mlx/gemma4-moe-mixed"),
                    checkpoint_subject(leat, base, "mlx/qwen3_moe-4bit")):
        for run in covering_runs(settings):
            name = "identity: %s: %s" % (subject.name, " ".join("%s=%s" % pair for pair in run.items()))
            cases.append(Case(name, check_same, subject, run, is_grouped, lambda: direct()[0],
                              lambda: has_uring()[0],
                              seconds=guessed_seconds(subject, run)))
        cases.append(Case("identity: %s: automatic" % subject.name, check_automatic, subject, seconds=2))
        cases.append(Case("identity: %s: packed" % subject.name, check_packed, subject, seconds=4))
        cases.append(Case("memory: %s: least budget" % subject.name, check_least_budget, subject, seconds=2))
    for isa in SETTINGS["isa"]:
        cases.append(Case("identity: instruction set " + isa, check_instruction_set, leat, isa, seconds=0.1))
    cases.append(Case("identity: io_uring", check_uring, lambda: has_uring()[0], seconds=0.1))
    cases.append(Case("identity: direct reads", check_direct_reads, lambda: direct()[0], seconds=0.1))
    cases.append(Case("memory: brook: long text", check_long_text, leat, is_grouped, seconds=10))
    cases.append(Case("memory: the measuring itself", check_measuring, leat, seconds=0.5))
    cases.append(Case("memory: cgroup limits", check_groups, brook, hindrance, seconds=2))
    return cases

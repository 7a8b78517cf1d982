"""The same audit chain at every budget, in a memory cgroup of that budget, however the bytes come.

Models of real block shape are made on the spot by tools/make_synthetic_model.py: a mixture of experts and a dense one;
the bundled model is the third. A run of one thread with everything in memory is the standard. Every two values of
different settings meet in at least one run, and each run is held to its budget by the kernel.
"""
import ctypes
import json
import mmap
import os
import re
import resource
import shutil
import subprocess
import sys
import threading

from covering import all_pairs, covering_runs, pairs_of
from leat_program import MIB, ROOT, Case, Once, Skipped, expect_success, how_it_ended
from memory_group import group_hindrance, memory_group
from reference_cases import BROOK, brook_answers

# What a group holds beyond the budget.
ALLOWANCE_BYTES = 32 * MIB
CTX = 160
ANSWER_COUNT = 16
# Of the way from the floor to everything.
BUDGET_STEPS = ("0", "1/32", "1/16", "1/8", "1/4", "1/2", "3/4", "1")
# High temperature: random weights repeat themselves under greedy sampling, and so would the routing.
SAMPLING = ("--temp", "5", "--top-k", "0", "--top-p", "1", "--min-p", "0", "--seed", "11")

SETTINGS = {
    "ram": BUDGET_STEPS,
    "threads": ("2", "1", "4"),
    "prefill-chunk": ("32", "64", "7", "1"),
    "io": ("direct", "buffered"),
    "io-engine": ("uring", "threads"),
    "layout": ("source", "packed"),
    "page-cache": ("warm", "cold"),
}
# Options that not every version of the program has, or whose values it lists itself.
DISCOVERED = ("cache-policy", "look-ahead", "profile", "pressure")
# How long a prompt is: more than the window of the small models and than two of the larger chunks.
PROMPT_COUNT = 80


# ---- what the program offers -------------------------------------------------------------------------------------


def values_of(name, metavar):
    """Those that a run is made with. FILE is one that all runs of a model share, N is 2; the policy has to be named."""
    words = metavar.split("|") if metavar else ["on", "off"]
    values = ["2" if word == "N" else word for word in words if word in ("FILE", "N") or word == word.lower()]
    if name == "cache-policy":
        values.remove("auto")
    return tuple(values) if len(values) > 1 else (*values, "")  # "": left out


def discovered_settings(help_text):
    """{name: values} of those of DISCOVERED that are in the help of `leat run`."""
    found = {}
    for name in DISCOVERED:
        row = re.search(r"^ +(?:-\w, )?--%s(?: (\S+))?(?=\s|$)" % re.escape(name), help_text, re.M)
        if row:
            found[name] = values_of(name, row.group(1))
    return found


def check_discovery():
    """On a help of our own: no setting is lost because its row looks otherwise."""
    rows = ("      --cache-policy auto|lru|lfu\n            which\n  -a, --look-ahead N|auto  guess\n      --profile FILE|none\n"
            "      --pressure          follow\n      --profiles X  other\n")
    found, wanted = discovered_settings(rows), {"cache-policy": ("lru", "lfu"), "look-ahead": ("2", "auto"),
                                                "profile": ("FILE", "none"), "pressure": ("on", "off")}
    assert found == wanted, found
    for settings in (dict(SETTINGS, **found), {"a": (1,), "b": (1, 2)}):
        met = set().union(*(pairs_of(run) for run in covering_runs(settings)))
        assert met == all_pairs(settings), "%d pairs, wanted %d" % (len(met), len(all_pairs(settings)))


def option_words(name, value, shared_file, is_switch):
    if value == "":
        return []
    if is_switch:
        return ["--" + name if value == "on" else "--no-" + name]
    return ["--" + name, shared_file if value == "FILE" else value]


# ---- the page cache ----------------------------------------------------------------------------------------------


def files_of(folder):
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))
            if os.path.isfile(os.path.join(folder, name))]


def warm(folder):
    for path in files_of(folder):
        with open(path, "rb") as stream:
            while stream.read(1 << 22):
                pass


def drop(folder):
    for path in files_of(folder):
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())  # what is dirty would stay
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident_share(path):
    """How much of a file is in the page cache, from 0 to 1."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    size = os.path.getsize(path)
    with open(path, "rb") as stream:
        view = mmap.mmap(stream.fileno(), size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        place = ctypes.c_char.from_buffer(view)
        pages = (ctypes.c_ubyte * (-(-size // mmap.PAGESIZE)))()
        failed = libc.mincore(ctypes.addressof(place), size, pages)
        del place
        view.close()
    assert not failed, "mincore: %s" % os.strerror(ctypes.get_errno())
    return sum(page & 1 for page in pages) / len(pages)


def check_cold(subject):
    """Cold runs are cold, and blocks that are read from the device are counted."""
    folder = subject.folder("source", "cold")
    largest = max(files_of(folder), key=os.path.getsize)
    with subject.cold_lock:
        warm(folder)
        assert resident_share(largest) > 0.9, "what was just read is not in the page cache"
        drop(folder)
        if resident_share(largest) > 0.1:
            raise Skipped("the file system of the build folder keeps its pages: cold runs were as warm as the others")
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_inblock
        warm(folder)
        read_bytes = (resource.getrusage(resource.RUSAGE_THREAD).ru_inblock - before) << 9
    assert read_bytes > os.path.getsize(largest) // 2, "%d bytes came from the device" % read_bytes


# ---- the models --------------------------------------------------------------------------------------------------


class Subject:
    """A model in two layouts, each with a copy whose pages are dropped before a run. Made when first asked for."""

    def __init__(self, leat, name, make, ids, has_experts):
        self.leat, self.name, self.ids, self.has_experts = leat, name, ids, has_experts
        self.make = make
        self.cold_lock = threading.Lock()
        self.base = os.path.join(leat.work, "budget-" + name)
        os.mkdir(self.base)
        self.shared_file = os.path.join(self.base, "shared")
        self.folders = {(layout, cache): Once(lambda layout=layout, cache=cache: self.make_folder(layout, cache))
                        for layout in SETTINGS["layout"] for cache in SETTINGS["page-cache"]}
        self.reference = Once(self.make_reference)

    def folder(self, layout, cache):
        return self.folders[layout, cache]()

    def make_folder(self, layout, cache):
        path = os.path.join(self.base, layout + "-" + cache)
        if cache == "cold":
            return shutil.copytree(self.folder(layout, "warm"), path)
        if layout == "source":
            return self.make(path)
        args = ("pack", self.folder("source", "warm"), path, "-q")
        expect_success(self.leat.run(*args), self.leat.shown(args))
        return path

    def run_args(self, folder, audit, *options, count=ANSWER_COUNT):
        return ("run", folder, "--tokens", ",".join(map(str, self.ids)), "-n", str(count), "--ignore-eos", "--ctx", str(CTX),
                *SAMPLING, "--audit", audit, "--json", "-q", *options)

    def make_reference(self):
        """(path of the audit, its tokens): one thread, everything in memory; what differs from it is to blame."""
        options = ("--threads", "1", "--prefill-chunk", "64", "--io", "buffered", "--io-engine", "threads")
        folder, audit = self.folder("source", "warm"), self.leat.file(".audit")
        everything = self.leat.plan(folder, "--ctx", str(CTX), *options)["everything_bytes"]
        answer = self.leat.json(*self.run_args(folder, audit, *options, "--ram", str(everything)))
        assert len(set(answer["tokens"])) > ANSWER_COUNT // 4, "the answer repeats itself: %s" % answer["tokens"]
        return audit, answer["tokens"]


def make_synthetic(preset, *options):
    def make(folder):
        tool = os.path.join(ROOT, "tools", "make_synthetic_model.py")
        subprocess.run([sys.executable, tool, preset, folder, *options], check=True, stdout=subprocess.DEVNULL)
        return folder
    return make


def prompt_ids(vocabulary):
    return [(7 + 7919 * i * i) % vocabulary for i in range(PROMPT_COUNT)]


# ---- one run -----------------------------------------------------------------------------------------------------


def budget_of(step, plan):
    floor, everything = plan["floor_bytes"], plan["everything_bytes"]
    over, _, under = step.partition("/")
    return floor + (everything - floor) * int(over) // int(under or 1)


def check_in_force(answer, run, budget, facts, has_experts):
    """The run did what it was asked to: settings that are ignored would make all chains equal."""
    memory = answer["memory"]
    assert memory["budget_bytes"] == budget, "budget %d, asked for %d" % (memory["budget_bytes"], budget)
    assert memory["thread_count"] == int(run["threads"]), "%d threads" % memory["thread_count"]
    assert memory["prefill_chunk"] == int(run["prefill-chunk"]), "chunks of %d" % memory["prefill_chunk"]
    assert answer["io"]["is_direct"] == (run["io"] == "direct" and facts.has_direct()[0]), "%s reads" % (
        "direct" if answer["io"]["is_direct"] else "buffered")
    assert answer["io"]["engine"] == (run["io-engine"] if facts.has_uring()[0] else "threads"), "reads by %s" % (
        answer["io"]["engine"])
    if has_experts:
        assert memory["cache_policy"] == run["cache-policy"], "policy %s" % memory["cache_policy"]
    is_floor, is_all = run["ram"] == "0", run["ram"] == "1"
    assert (memory["streamed_bytes_per_step"] > 0) or not is_floor, "nothing of the trunk is streamed at the floor"
    assert (memory["streamed_bytes_per_step"] == 0) or not is_all, "the trunk is streamed with room for everything"
    if has_experts and (is_floor or is_all):
        assert (answer["experts"]["evictions"] > 0) == is_floor, "%d evictions" % answer["experts"]["evictions"]


def options_of(subject, run, facts):
    options = []
    for name, value in run.items():
        if name not in ("ram", "layout", "page-cache"):
            options += option_words(name, value, subject.shared_file, name in facts.switches)
    return options


def measure_run(subject, run, args, budget, facts):
    """In a group of the budget; a cold run has its folder to itself."""
    def measure():
        return subject.leat.measure_in_budget(*args, budget_bytes=budget, allowance_bytes=ALLOWANCE_BYTES,
                                              is_grouped=facts.is_grouped)
    folder = args[1]
    if run["page-cache"] == "warm":
        warm(folder)
        return measure()
    with subject.cold_lock:
        drop(folder)
        return measure()


def check_faults(subject, run, options, budget, facts, done):
    """Fewer than one major page fault for each decoded token; the first token may have some."""
    if done.major_faults < ANSWER_COUNT - 1:
        return
    args = subject.run_args(subject.folder(run["layout"], run["page-cache"]), subject.leat.file(".audit"), *options, count=1)
    first = measure_run(subject, run, args, budget, facts)
    later = done.major_faults - first.major_faults
    assert later < ANSWER_COUNT - 1, "%d major page faults for %d tokens after the first" % (later, ANSWER_COUNT - 1)


def check_run(subject, run, facts):
    leat = subject.leat
    reference, tokens = subject.reference()
    folder = subject.folder(run["layout"], run["page-cache"])
    options = options_of(subject, run, facts)
    budget = budget_of(run["ram"], leat.plan(folder, "--ctx", str(CTX), *planned(options, facts)))
    options += ["--ram", str(budget)]
    audit = leat.file(".audit")
    args = subject.run_args(folder, audit, *options)
    done = measure_run(subject, run, args, budget, facts)
    same = leat.run("audit", reference, audit)
    assert same.code == 0, "%s: %s: %s" % (how_it_ended(same), (same.out.decode() + same.err).strip(), leat.shown(args))
    answer = json.loads(done.out)
    assert answer["tokens"] == tokens, "%s, expected %s: %s" % (answer["tokens"], tokens, leat.shown(args))
    check_in_force(answer, run, budget, facts, subject.has_experts)
    least = answer["memory"]["pools"][0]["current_bytes"] // 2  # of the trunk
    assert run["page-cache"] == "warm" or not facts.has_cold()[0] or done.read_bytes >= least, (
        "a cold run read %d bytes from the device: %s" % (done.read_bytes, leat.shown(args)))
    check_faults(subject, run, options, budget, facts, done)
    os.unlink(audit)


def planned(options, facts):
    """Those of the options that `leat plan` takes, too."""
    words, kept = list(options), []
    while words:
        word = words.pop(0)
        name = word.removeprefix("--").removeprefix("no-")
        values = [] if name in facts.switches else [words.pop(0)]
        if "--" + name in facts.plan_help:
            kept += [word, *values]
    return kept


# ---- the tests' own tests ------------------------------------------------------------------------------------------


def check_difference_is_found(subject):
    """The same questions to the same shape with other weights: another chain, and the place is named."""
    leat = subject.leat
    reference, _ = subject.reference()
    other = make_synthetic("gemma4-small", "--seed", "2")(os.path.join(subject.base, "other"))
    audit = leat.file(".audit")
    leat.json(*subject.run_args(other, audit))
    found = leat.run("audit", reference, audit)
    assert found.code == 8, "%s for different weights: %s" % (how_it_ended(found), found.out.decode())
    assert b"position" in found.out, found.out.decode()


def check_group_kills(subject):
    """A run in a group of half its size dies: the limit is in force in the other runs too."""
    leat, folder = subject.leat, subject.folder("source", "warm")
    everything = leat.plan(folder, "--ctx", str(CTX))["everything_bytes"]
    # Without --force it would refuse by itself, and by pressure it would shrink: the group is the machine that it sees.
    args = subject.run_args(folder, leat.file(".audit"), "--ram", str(everything), "--io", "direct", "--force", "--pressure", "off")
    peak = leat.measure(*args).peak_bytes
    with memory_group(peak // 2) as group:
        done = leat.measure(*args, group=group)
    assert done.signal == 9 and done.group_kills > 0, "a run of %d bytes lived in %d: %s" % (
        peak, peak // 2, how_it_ended(done))


def check_faults_are_counted(subject, facts):
    """A program that maps a cold file and walks through it has major page faults."""
    if not facts.has_cold()[0]:
        raise Skipped("the file system of the build folder keeps its pages: no fault can be provoked")
    path = max(files_of(subject.folder("source", "cold")), key=os.path.getsize)
    walk = ("import mmap; f = open(%r, 'rb'); v = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); "
            "v.madvise(mmap.MADV_RANDOM); v[::4096]")
    with subject.cold_lock:
        drop(os.path.dirname(path))
        done = subject.leat.measure("-c", walk % path, program=sys.executable)
    assert done.code == 0 and done.major_faults > os.path.getsize(path) // 4096 // 4, "%d major page faults: %s" % (
        done.major_faults, done.err)


def read_shares(path, expert_count):
    """[[of how many decoded tokens each expert was asked for, 0 to 1], of each layer] of a file of --route-trace."""
    with open(path, encoding="utf-8") as stream:
        steps = [json.loads(line) for line in stream]
    layers = [step["layers"] for step in steps if step.get("rows", 1) == 1 and step.get("layers")]
    return [[sum(expert in used for used in of_layer) / len(layers) for expert in range(expert_count)]
            for of_layer in zip(*layers)]


def correlation(a, b):
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    both = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b))
    return both / (sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)) ** 0.5


def check_recorded_use(subject):
    """A model made from counts asks for its experts in about these shares; one made without them does not."""
    leat, count, token_count = subject.leat, 32, 300
    # Of layer l the expert (5 * rank + 3 * l) mod 32 has the rank-th share: falling, and other experts in each layer.
    wanted = [[0.0] * count for _ in range(8)]
    for layer in range(8):
        for rank in range(count):
            wanted[layer][(5 * rank + 3 * layer) % count] = 1000 / (1 + rank)
    counts = leat.file(".counts")
    with open(counts, "w", encoding="ascii") as stream:
        json.dump({"counts": wanted}, stream)
    made = make_synthetic("gemma4-small", "--usage", counts)(os.path.join(subject.base, "recorded"))
    ids = ",".join(str(7919 * i * i % 8192) for i in range(token_count))
    found = {}
    for folder in (made, subject.folder("source", "warm")):
        trace = leat.file(".trace")
        leat.json("run", folder, "--tokens", ids, "-n", "1", "--ignore-eos", "--prefill-chunk", "1", "--ctx", str(token_count + 8),
                  "--route-trace", trace, "--json", "-q")
        shares = read_shares(trace, count)
        found[folder] = sum(correlation(a, b) for a, b in zip(wanted, shares)) / len(wanted)
    with_counts, without = found.values()
    assert with_counts > 0.8 and without < 0.5, "correlation with the counts %.2f, without them %.2f" % (with_counts, without)


def check_mixed_precision(subject):
    """Experts of 8 bits in some layers and 4 in others: one chain from the floor to everything, the ledger as planned, every
    recording replays to its own counters, and slots are of two sizes wherever there is a set for each layer."""
    leat, layers, used = subject.leat, 8, 4
    folder = make_synthetic("gemma4-small", "--eight-bit-experts", "0,3,7")(os.path.join(subject.base, "mixed"))
    options = ("--ctx", str(CTX), "--threads", "2")
    sizes = leat.plan(folder, *options)
    reference, class_counts = leat.file(".audit"), set()
    leat.json(*subject.run_args(folder, reference, "--ram", str(sizes["everything_bytes"])))
    for part, policy, ahead in ((0, "lfu", "off"), (0.1, "lru", "on"), (0.2, "slru", "off"), (0.4, "lfu", "on"), (0.7, "s3fifo", "off"),
                                (1, "lfu", "off")):
        budget = int(sizes["floor_bytes"] + (sizes["everything_bytes"] - sizes["floor_bytes"]) * part)
        audit, trace = leat.file(".audit"), leat.file(".trace")
        found = leat.json(*subject.run_args(folder, audit, *options[2:], "--ram", str(budget), "--cache-policy", policy, "--look-ahead",
                                            ahead, "--route-trace", trace, "--profile", "off"))
        assert leat.run("audit", reference, audit).code == 0, "another chain in a budget of %d" % budget
        memory = found["memory"]
        pool, = (pool for pool in memory["pools"] if pool["name"] == "experts")
        assert pool["peak_bytes"] == memory["parts"]["expert_cache_bytes"], "%s, planned %s" % (pool, memory["parts"])
        slots, class_count = memory["expert_slot_count"], memory["expert_class_count"]
        assert class_count == (2 if slots >= layers * used else 1), "%d sizes of %d slots" % (class_count, slots)
        assert class_count == 1 or pool["peak_bytes"] < slots * memory["expert_slot_bytes"] * 4 // 5, pool
        row, = (row for row in leat.json("replay", trace, "--json")["rows"] if row["as_recorded"])
        for name in ("hits", "misses", "evictions", "ahead_used", "ahead_wasted"):
            assert row[name] == found["experts"][name], "%s of %s, lived %s" % (name, row, found["experts"])
        class_counts.add(class_count)
    assert class_counts == {1, 2}, class_counts


# ---- truth -------------------------------------------------------------------------------------------------------


def check_usage(subject, step, facts):
    """What leat says that it holds, against what the kernel charges its group for, with reads past the page cache."""
    if not facts.has_direct()[0]:
        raise Skipped("the file system of the build folder refuses direct reads: the page cache would be charged, too")
    leat, folder = subject.leat, subject.folder("source", "warm")
    options = ("--io", "direct", "--threads", "2")
    budget = budget_of(step, leat.plan(folder, "--ctx", str(CTX), *options))
    args = subject.run_args(folder, leat.file(".audit"), *options, "--ram", str(budget))
    with memory_group(budget + ALLOWANCE_BYTES) as group:
        done = leat.measure(*args, group=group)
    expect_success(done, leat.shown(args))
    memory = json.loads(done.out)["memory"]
    said, charged = memory["rss_peak_bytes"], done.group_peak_bytes
    if charged is None:
        raise Skipped("this kernel does not tell a group's peak")
    # Resident, but charged to whoever touched it first, are code and the C library: as in a run that does nothing.
    with memory_group(ALLOWANCE_BYTES) as group:
        idle = leat.measure("version", group=group)
    shared = max(0, idle.peak_bytes - idle.group_peak_bytes)
    assert abs(charged + shared - said) <= 4 * MIB, "leat says a peak of %d, the group had %d and %d of code: %s" % (
        said, charged, shared, leat.shown(args))
    assert charged <= budget, "the group had %d, more than the budget %d: %s" % (charged, budget, leat.shown(args))
    pools = sum(pool["current_bytes"] for pool in memory["pools"])
    assert pools <= budget, "pools of %d in a budget of %d" % (pools, budget)


# ---- all of them -------------------------------------------------------------------------------------------------


class Facts:
    """What the machine and the program can do."""

    def __init__(self, leat, hindrance, probe):
        self.is_grouped = hindrance is None and not leat.has_sanitizer
        self.plan_help = leat.run("plan", "--help").out.decode()
        help_text = leat.run("run", "--help").out.decode()
        self.discovered = discovered_settings(help_text)
        self.switches = {name for name, values in self.discovered.items() if set(values) == {"on", "off"}
                         and not re.search(r"--%s \S*\|" % name, help_text)}
        short = ("-n", "1", "--tokens", "2", "--json", "-q")
        self.has_uring = Once(lambda: (leat.json("run", BROOK, *short, "--io-engine", "uring")["io"]["engine"] == "uring",))
        self.has_direct = Once(lambda: (leat.json("run", probe.folder("source", "warm"), *short, "--io", "direct")["io"]
                                        ["is_direct"],))
        self.has_cold = Once(lambda: (self.can_be_cold(probe),))

    @staticmethod
    def can_be_cold(probe):
        try:
            check_cold(probe)
            return True
        except Skipped:
            return False


def check_groups(subject, hindrance):
    if subject.leat.has_sanitizer:
        raise Skipped("this build has sanitizers, whose memory no budget knows of: no run was held to its size")
    if hindrance:
        raise Skipped("%s: no run was held to its size" % hindrance)
    check_group_kills(subject)


def usage_cases(subject, facts):
    if not facts.is_grouped:
        return []  # check_groups says why
    return [Case("budget: %s: cgroup usage at %s" % (subject.name, step), check_usage, subject, step, facts, seconds=1)
            for step in ("0", "1/4", "1")]


def budget_cases(leat):
    moe = Subject(leat, "moe", make_synthetic("gemma4-small"), prompt_ids(8192), True)
    dense = Subject(leat, "dense", make_synthetic("qwen3-small"), prompt_ids(8192), False)
    brook = Subject(leat, "brook", lambda folder: shutil.copytree(BROOK, folder),
                    list(brook_answers()[1]["tool_result.prompt_ids"].values)[:PROMPT_COUNT], True)
    hindrance = group_hindrance()
    facts = Facts(leat, hindrance, moe)
    cases = []
    for subject in (moe, dense, brook):
        settings = dict(SETTINGS, **facts.discovered)
        if not subject.has_experts:
            settings.pop("cache-policy", None)
            settings["layout"] = ("source",)  # a pack is about experts
        for run in covering_runs(settings):
            name = "budget: %s: %s" % (subject.name, " ".join("%s=%s" % pair for pair in run.items()))
            cases.append(Case(name, check_run, subject, run, facts, seconds=1))
        cases += usage_cases(subject, facts)
    cases.append(Case("budget: the list of runs", check_discovery, seconds=0.1))
    cases.append(Case("budget: cold page cache", check_cold, moe, seconds=2))
    cases.append(Case("budget: recorded use of experts", check_recorded_use, moe, seconds=4))
    cases.append(Case("budget: experts of two precisions", check_mixed_precision, moe, seconds=4))
    cases.append(Case("budget: other weights", check_difference_is_found, moe, seconds=2))
    cases.append(Case("budget: major faults are counted", check_faults_are_counted, dense, facts, seconds=2))
    cases.append(Case("budget: cgroup limits", check_groups, moe, hindrance, seconds=2))
    return cases

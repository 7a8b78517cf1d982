"""Known answers: logits, greedy continuations and routed experts of whole models, computed by the reference library."""
import filecmp
import fnmatch
import json
import os
import re

from leat_program import Case, MODEL_REFUSED, ROOT, Skipped, expect_success
from stored_arrays import Array, largest_difference, read_npy, read_safetensors, rows

LOGIT_TOLERANCE = 2e-3
WEIGHT_TOLERANCE = 1e-4  # of an expert's weight

# What has to pass. Any other checkpoint may be refused, as one of an unknown architecture.
NAMED = {
    "models": ("gemma4*", "llama*", "qwen3", "qwen3-moe*"),
    "mlx": ("gemma4*", "llama*", "qwen3_moe*"),
}
UNKNOWN_ARCHITECTURE = re.compile(r'error: config\.json: model_type is "[^"]*", expected ')


def is_named(group, name):
    return any(fnmatch.fnmatch(name, pattern) for pattern in NAMED[group])


def folders_with(base, file_name):
    if not os.path.isdir(base):
        return []
    return sorted(name for name in os.listdir(base) if os.path.isfile(os.path.join(base, name, file_name)))


def ids_argument(ids):
    return ",".join(map(str, ids))


# ---- one model ---------------------------------------------------------------------------------------------------


def check_logits(leat, model, ids, wanted, first_row=0):
    """Rows from first_row on against `wanted`. The difference."""
    path = leat.file(".npy")
    args = ("eval", model, "--tokens", "@" + leat.tokens_file(ids), "--logits", path, "-q")
    expect_success(leat.run(*args), leat.shown(args))
    got = read_npy(path)
    os.unlink(path)
    vocab = wanted.shape[1]
    assert got.shape == (len(ids), vocab), "logits have the shape %s, expected %s" % (got.shape, (len(ids), vocab))
    got = Array((len(ids) - first_row, vocab), got.values[first_row * vocab:])
    worst, place = largest_difference(got, wanted)
    assert worst <= LOGIT_TOLERANCE, "logits differ by %.3g at position %d, token %d: %r, expected %r" % (
        worst, first_row + place // vocab, place % vocab, got.values[place], wanted.values[place])
    return worst


def check_greedy(leat, model, ids, wanted):
    """Under the least budget, so that the continuation also comes from weights read again and again."""
    floor = str(leat.plan(model)["floor_bytes"])
    got = leat.json("run", model, "--tokens", "@" + leat.tokens_file(ids), "--temp", "0", "-n", str(len(wanted)),
                    "--ignore-eos", "--json", "-q", "--ram", floor)["tokens"]
    wanted = list(wanted)
    if got != wanted:
        same = next((i for i, pair in enumerate(zip(got, wanted)) if pair[0] != pair[1]), min(len(got), len(wanted)))
        raise AssertionError("the greedy continuation parts at token %d of %d: %s, expected %s" % (
            same, len(wanted), got[same:same + 4], wanted[same:same + 4]))


def trace_routes(leat, model, ids):
    """(layer, position) -> {expert: weight}, as the engine reports them; in several chunks, the last of them short."""
    done = leat.start([leat.tool("route_trace"), model, leat.tokens_file(ids), "7"])
    assert done.returncode == 0, "route_trace: exit %d: %s" % (done.returncode, done.stderr.decode(errors="replace"))
    found = {}
    for line in done.stdout.decode().splitlines():
        layer, position, *chosen = line.split()
        pairs = [pair.split(":") for pair in chosen]
        key = (int(layer), int(position))
        assert key not in found, "layer %d routed position %d twice" % key
        found[key] = {int(expert): float(weight) for expert, weight in pairs}
    return found


def check_routes(leat, model, ids, experts, weights):
    """`experts` and `weights`: [layer][position][k]. The set of experts is compared, and the weight of each."""
    found = trace_routes(leat, model, ids)
    wanted = {(layer, position): dict(zip(experts[layer][position], weights[layer][position]))
              for layer in range(len(experts)) for position in range(len(experts[layer]))}
    assert found.keys() == wanted.keys(), "routed %d rows, expected %d layers x %d positions" % (
        len(found), len(experts), len(experts[0]))
    for (layer, position), choice in wanted.items():
        got = found[layer, position]
        where = "layer %d with experts, position %d" % (layer, position)
        assert got.keys() == choice.keys(), "%s: experts %s, expected %s" % (where, sorted(got), sorted(choice))
        for expert, weight in choice.items():
            assert abs(got[expert] - weight) <= WEIGHT_TOLERANCE, "%s: expert %d weighs %r, expected %r" % (
                where, expert, got[expert], weight)


def check_model(leat, group, name, folder):
    expected = read_safetensors(os.path.join(folder, "expected.safetensors"))
    ids = list(expected["tokens"].values)
    if not is_named(group, name):
        done = leat.run("info", folder)
        if done.code == MODEL_REFUSED and UNKNOWN_ARCHITECTURE.search(done.err):
            raise Skipped("not a known architecture: " + done.err.splitlines()[0].partition("error: ")[2])
    check_logits(leat, folder, ids, expected["logits"])
    check_greedy(leat, folder, ids, expected["greedy"].values)
    if "experts" in expected:
        shape = expected["experts"].shape
        check_routes(leat, folder, ids, rows(expected["experts"].values, shape),
                     rows(expected["expert_weights"].values, shape))


def check_named_are_there(base, group):
    names = folders_with(os.path.join(base, group), "expected.safetensors")
    for pattern in NAMED[group]:
        assert fnmatch.filter(names, pattern), "%s holds no %s" % (os.path.join(base, group), pattern)


# ---- the copies in this folder -----------------------------------------------------------------------------------


def check_copies(copies, originals):
    """Each folder of `copies` has the files of its original, byte for byte, and no others."""
    folders = [name for name in sorted(os.listdir(copies)) if os.path.isdir(os.path.join(copies, name))]
    assert folders, "%s is empty" % copies
    for name in folders:
        check_copy(os.path.join(copies, name), os.path.join(originals, name))


def check_copy(copy, original):
    for here, there in ((copy, original), (original, copy)):
        for folder, _, files in os.walk(here):
            for name in files:
                path = os.path.join(folder, name)
                other = os.path.join(there, os.path.relpath(path, here))
                assert os.path.isfile(other), "%s is not there" % other
                assert filecmp.cmp(path, other, shallow=False), "%s differs from %s" % (path, other)


# ---- brook -------------------------------------------------------------------------------------------------------

BROOK = os.path.join(ROOT, "models", "brook")
BROOK_ANSWERS = os.path.join(ROOT, "tests", "golden", "brook")


def brook_answers():
    with open(os.path.join(BROOK_ANSWERS, "expected.json"), encoding="utf-8") as stream:
        document = json.load(stream)
    return document, read_safetensors(os.path.join(BROOK_ANSWERS, "expected.safetensors"))


def by_layer(tensor):
    """[position, layer, k] as [layer][position][k]."""
    return list(zip(*rows(tensor.values, tensor.shape)))


def check_brook(leat, prompt, stop_ids, tensors):
    name = prompt["name"]
    ids, greedy = list(tensors[name + ".prompt_ids"].values), list(tensors[name + ".greedy_ids"].values)
    if name + ".logits" in tensors:
        check_logits(leat, BROOK, ids, tensors[name + ".logits"])
    last = tensors[name + ".last_logits"]
    check_logits(leat, BROOK, ids, Array((1,) + last.shape, last.values), len(ids) - 1)
    check_greedy(leat, BROOK, ids, greedy)
    if name + ".routing" in tensors:
        check_routes(leat, BROOK, ids, *(by_layer(tensors[name + end]) for end in (".routing", ".routing_weights")))
    check_brook_text(leat, prompt, ids, greedy, stop_ids)


def check_brook_text(leat, prompt, ids, greedy, stop_ids):
    """What a user sees: the text alone on standard output, ended by the model itself."""
    roles = [message["role"] for message in prompt["messages"]]
    if roles == ["user"] and "tools" not in prompt:
        question = [prompt["messages"][0]["content"]]
    else:  # with tools, whose turns only a template can render
        question = ["--tokens", ids_argument(ids)]
    assert greedy[-1] in stop_ids, "the known answer does not end with a stop token"
    args = ("run", BROOK, *question, "--temp", "0", "-q")
    done = leat.run(*args)
    expect_success(done, leat.shown(args))
    whole = leat.json("detokenize", BROOK, ids_argument(greedy), "--json")["text"]
    assert whole == prompt["greedy_text"], "detokenize: %r, expected %r" % (whole, prompt["greedy_text"])
    plain = leat.json("detokenize", BROOK, ids_argument(greedy), "--no-special", "--json")["text"]
    assert done.out.decode() == plain, "printed %r, expected %r" % (done.out.decode(), plain)


# ---- all of them -------------------------------------------------------------------------------------------------


def reference_cases(leat, base, is_full, copies):
    cases = []
    for group in NAMED:
        for name in folders_with(os.path.join(base, group), "expected.safetensors"):
            cases.append(Case("reference: %s/%s" % (group, name), check_model, leat, group, name,
                              os.path.join(base, group, name)))
    if is_full:
        for group in NAMED:
            cases.append(Case("reference: %s: all that are named" % group, check_named_are_there, base, group))
        for group in (*NAMED, "bad"):
            cases.append(Case("copies: " + group, check_copies, os.path.join(copies, group), os.path.join(base, group)))
    document, tensors = brook_answers()
    for prompt in document["prompts"]:
        cases.append(Case("reference: brook: " + prompt["name"], check_brook, leat, prompt, document["stop_ids"],
                          tensors, seconds=10 if "1500" in prompt["name"] else 2))
    return cases

"""Damaged checkpoints: refused with the right exit code and a message that names the fault, and nothing else."""
import json
import os
import re
import shutil

from leat_program import MIB, MODEL_REFUSED, Case, how_it_ended

TIMEOUT_S = 30
# An honest refusal needs next to nothing; sizes claimed by a damaged header must not be believed.
MEMORY_MAX = 64 * MIB
MESSAGE_MAX = 4096
CONTROL_BYTES = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
COMPUTE = ("--tokens", "1,2,3", "-n", "2", "--temp", "0")


def check_refusal(leat, folder, entry, verb):
    done = leat.measure(verb, folder, *(COMPUTE if verb == "run" else ()), timeout=TIMEOUT_S)
    wanted, message = entry.get("exit", MODEL_REFUSED), done.err
    said = "; it said: " + message.strip()[-300:]
    assert done.code == wanted, "%s: %s, expected exit %d%s" % (verb, how_it_ended(done), wanted, said)
    for word in entry["must_mention"]:
        assert word.lower() in message.lower(), "%s: the message lacks %r%s" % (verb, word, said)
    for text in entry.get("must_not_print", ()):
        assert text not in message and text.encode() not in done.out, "%s: prints %r" % (verb, text[:20])
    assert not CONTROL_BYTES.search(message), "%s: the message holds control bytes: %r" % (verb, message[-300:])
    assert len(message) <= MESSAGE_MAX, "%s: the message has %d bytes" % (verb, len(message))
    assert leat.has_sanitizer or done.peak_bytes <= MEMORY_MAX, "%s: peak RSS %d" % (verb, done.peak_bytes)
    if wanted == 0:
        assert "warning" in message.lower(), "%s: accepted without a warning%s" % (verb, said)
    else:
        assert message.startswith("leat: error: "), "%s: no error message%s" % (verb, said)
        assert not done.out, "%s: refused, but printed %r" % (verb, done.out[:80])


def check_damaged(leat, folder, entry):
    for verb in ("run", "check"):
        check_refusal(leat, folder, entry, verb)


def check_good(leat, folder):
    """The checkpoint that the damaged ones were made from."""
    for args in (("run", folder, *COMPUTE), ("check", folder)):
        done = leat.measure(*args, timeout=TIMEOUT_S)
        assert done.code == 0 and done.out and "warning" not in done.err, "%s: %s: %s" % (
            leat.shown(args), how_it_ended(done), done.err.strip()[-300:])


def check_pipe(leat, good):
    """A named pipe in place of the weights: opening it must not wait for a writer."""
    folder = os.path.join(leat.work, "pipe")
    shutil.copytree(good, folder)
    os.unlink(os.path.join(folder, "model.safetensors"))
    os.mkfifo(os.path.join(folder, "model.safetensors"))
    check_damaged(leat, folder, {"must_mention": ["model.safetensors"]})


def check_manifest(base, manifest):
    """A folder without an entry would never be run, an entry without a folder be refused for the wrong reason."""
    folders = {name for name in os.listdir(base) if os.path.isdir(os.path.join(base, name))} - {"good"}
    assert folders == manifest.keys(), "only in one of the folder and its manifest.json: %s" % sorted(
        folders ^ manifest.keys())


def bad_cases(leat, base):
    bad = os.path.join(base, "bad")
    with open(os.path.join(bad, "manifest.json"), encoding="utf-8") as stream:
        manifest = json.load(stream)
    cases = [Case("bad: " + name, check_damaged, leat, os.path.join(bad, name), entry, seconds=0.2)
             for name, entry in sorted(manifest.items())]
    cases.append(Case("bad: good", check_good, leat, os.path.join(bad, "good"), seconds=0.2))
    cases.append(Case("bad: pipe", check_pipe, leat, os.path.join(bad, "good"), seconds=0.2))
    cases.append(Case("bad: manifest.json", check_manifest, bad, manifest, seconds=0.01))
    return cases

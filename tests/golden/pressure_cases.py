"""A memory cgroup gets smaller while a model runs in it: the expert cache gives way, and the answer stays the same."""
import json
import os
import subprocess
import time

from leat_program import MIB, Case, Skipped
from memory_group import Unavailable, memory_group, read, write
from reference_cases import BROOK

QUESTION = ("run", BROOK, "Tell me a story about a tiger.", "--temp", "0", "--ignore-eos", "-n", "1500", "--ctx", "4096",
            "--json", "-q")


def usage(group):
    return int(read(group.path("memory.usage_in_bytes" if group.version == 1 else "memory.current")))


def wait_until_steady(group, process):
    """Until the trunk and the experts of the prompt are there: what comes then, keys and values, is slow."""
    before = 0
    while process.poll() is None and not 24 * MIB < usage(group) < before + 3 * MIB:
        before = usage(group)
        time.sleep(0.2)


def tighten(group):
    """The limit to little above what is in use (the kernel refuses less): below what will be, for most of the keys of
    the context are not written yet."""
    limit = usage(group) + 3 * MIB
    try:
        write(group.path("memory.limit_in_bytes" if group.version == 1 else "memory.max"), str(limit))
    except OSError:
        return  # it took more meanwhile; the next try will do
    group.limit_bytes = limit


def run_in(leat, group, *options):
    """The answer of a run whose group is tightened meanwhile."""
    report = leat.file(".peak")
    command = [leat.tool("measure_peak"), report, group.folder, leat.program, *QUESTION, *options]
    process = subprocess.Popen(command, cwd=os.path.dirname(os.path.dirname(BROOK)), env=leat.environment,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    leat.running.add(process)
    try:
        wait_until_steady(group, process)
        if process.poll() is None:
            tighten(group)
        out, err = process.communicate(timeout=leat.timeout)
    finally:
        leat.running.discard(process)
    with open(report, encoding="ascii") as stream:
        how = stream.read().strip()
    assert how.startswith("exit 0 "), "it ended with %s: %s" % (how, err.decode(errors="replace")[-400:])
    return json.loads(out)


def check_shrinking_group(leat):
    if leat.has_sanitizer:
        raise Skipped("this build has sanitizers, whose memory no budget knows of")
    budget = leat.plan(BROOK, "--ctx", "4096")["everything_bytes"]
    expected = leat.json(*QUESTION, "--pressure", "off", "--ram", str(budget))
    assert expected["experts"]["cache_resizes"] == 0
    try:
        with memory_group(budget + 64 * MIB) as group:
            found = run_in(leat, group, "--ram", str(budget), "--io", "direct")
            kills = group.kill_count()
    except Unavailable as why:
        raise Skipped("%s: no run was given less memory while it ran" % why) from why
    assert kills == 0, "the kernel killed it"
    assert found["tokens"] == expected["tokens"], "the answer differs"
    experts = found["experts"]
    assert experts["cache_resizes"] > 0, "the cache kept its size in a group of %d bytes" % group.limit_bytes
    assert experts["slot_count"] < found["memory"]["expert_slot_count"], experts


def pressure_cases(leat):
    return [Case("pressure: brook: a shrinking group", check_shrinking_group, leat, seconds=8)]

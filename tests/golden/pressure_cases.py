"""A memory cgroup gets smaller while a model runs in it: the expert cache gives way, and the answer stays the same. Two
processes with automatic budgets in one cgroup divide it, also when they start at the same time."""
import contextlib
import copy
import json
import os
import subprocess
import tempfile
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


# ---- two in a group ----------------------------------------------------------------------------------------------

AUTOMATIC = (BROOK, "--ctx", "512", "--io", "direct", "--profile", "off")


class Neighbours:
    """Processes in a group, whose leases nobody else sees."""

    def __init__(self, leat, group):
        self.leat, self.group, self.chats = leat, group, []
        self.runtime = os.path.abspath(tempfile.mkdtemp(dir=leat.work))
        self.environment = dict(leat.environment, XDG_RUNTIME_DIR=self.runtime)

    def start_chat(self):
        """A chat that waits for its first question."""
        command = [self.leat.tool("measure_peak"), self.leat.file(".peak"), self.group.folder, self.leat.program, "chat",
                   *AUTOMATIC]
        chat = subprocess.Popen(command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE)
        self.leat.running.add(chat)
        self.chats.append(chat)

    def leases(self):
        """The bytes of all leases, once every chat has said what it planned: before, it may be asking for some."""
        for chat in self.chats:
            line = chat.stderr.readline().decode(errors="replace")
            assert line.startswith("ram: "), line + chat.stderr.read().decode(errors="replace")[-400:]
        folder = os.path.join(self.runtime, "leat")
        return [int(read(os.path.join(folder, name)).split()[3]) for name in os.listdir(folder)]

    def run(self, folder, *words):
        """Another process in the group `folder` ("-": none)."""
        command = [self.leat.tool("measure_peak"), self.leat.file(".peak"), folder, self.leat.program, *words]
        return subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=self.leat.timeout, check=True)

    def plan(self, folder, *options):
        """What another process there would plan."""
        return json.loads(self.run(folder, "plan", *AUTOMATIC, "--json", "--probe", "off", *options).stdout)

    def end(self):
        for chat in self.chats:
            _, err = chat.communicate(timeout=self.leat.timeout)
            self.leat.running.discard(chat)
            assert chat.returncode == 0, err.decode(errors="replace")[-400:]


@contextlib.contextmanager
def neighbours(leat):
    """In a group with room for one model as a whole and a little of another."""
    if leat.has_sanitizer:
        raise Skipped("this build has sanitizers, whose memory no budget knows of")
    everything = leat.plan(*AUTOMATIC, "--lease", "off")["everything_bytes"]
    try:
        with memory_group(everything + 32 * MIB) as group:
            found = Neighbours(leat, group)
            try:
                yield found, everything
            finally:
                found.end()
    except Unavailable as why:
        raise Skipped("%s: no two processes had one group" % why) from why


def check_divided_group(leat):
    with neighbours(leat) as (found, everything):
        found.start_chat()
        (leased,) = found.leases()
        assert leased == everything, "alone it leased %d of %d bytes" % (leased, everything)
        inside = found.plan(found.group.folder)["budget_bytes"]
        assert leased + inside <= found.group.limit_bytes, "%d and %d bytes in a group of %d" % (
            leased, inside, found.group.limit_bytes)
        outside = found.plan("-")["budget_bytes"]
        assert outside == everything, "outside of the group %d of %d bytes" % (outside, everything)


def check_warning(leat):
    """A budget that was given is kept, and said to be more than is free where it is."""
    with neighbours(leat) as (found, everything):
        ram = ("--ram", str(everything))
        found.start_chat()
        found.leases()
        assert not found.plan(found.group.folder)["would_page"], "an automatic budget would page"
        inside, outside = found.plan(found.group.folder, *ram), found.plan("-", *ram)
        assert inside["would_page"] and inside["free_bytes"] < everything == inside["budget_bytes"], inside
        assert not outside["would_page"], outside
        question = ("run", *AUTOMATIC, "Hello", "-n", "1", *ram)
        assert b"warning" in found.run(found.group.folder, *question).stderr, "it ran without a word"
        assert b"warning" not in found.run("-", *question).stderr, "it warned beside plenty of memory"


def check_probe(leat):
    """`leat plan` measures nothing where that would take more than there is."""
    if leat.has_sanitizer:
        raise Skipped("this build has sanitizers, whose memory no budget knows of")
    command = ("plan", BROOK, "--probe", "again", "--json", "--ctx", "512")
    try:
        with memory_group(48 * MIB) as group:
            done = leat.measure(*command, group=group)
            kills = group.kill_count()
    except Unavailable as why:
        raise Skipped("%s: no plan was made in a small group" % why) from why
    assert done.code == 0 and kills == 0, "exit %s, signal %s, killed %d times" % (done.code, done.signal, kills)
    assert b'"measured"' not in done.out, "it was measured all the same"
    alone = copy.copy(leat)  # other cases' processes have leases of all that is free, and leave profiles that are believed more
    own = os.path.abspath(tempfile.mkdtemp(dir=leat.work))
    alone.environment = dict(leat.environment, XDG_RUNTIME_DIR=own, XDG_CACHE_HOME=own)
    assert b'"measured"' in alone.measure(*command).out, "with plenty of memory nothing was measured"


def check_simultaneous_start(leat):
    with neighbours(leat) as (found, _):
        found.start_chat()
        found.start_chat()
        leased = found.leases()
        assert len(leased) == 2
        assert sum(leased) <= found.group.limit_bytes, "leases of %s bytes in a group of %d" % (
            leased, found.group.limit_bytes)


def pressure_cases(leat):
    return [Case("pressure: brook: a shrinking group", check_shrinking_group, leat, seconds=8),
            Case("pressure: brook: two in a group", check_divided_group, leat, seconds=2),
            Case("pressure: brook: more than is free", check_warning, leat, seconds=2),
            Case("pressure: brook: a probe in a small group", check_probe, leat, seconds=2),
            Case("pressure: brook: two that start together", check_simultaneous_start, leat, seconds=3)]

"""Runs the program under test, each time with an environment of its own, and measures what it held in memory."""
import collections
import json
import os
import shlex
import subprocess
import tempfile
import threading

from memory_group import memory_group

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODEL_REFUSED, BUDGET_REFUSED = 3, 4  # exit codes of include/leat/status.h
MIB = 1 << 20

# The last three are of version 1 and 2 groups alike; None where there is no group or the kernel does not say.
Measured = collections.namedtuple("Measured", "code signal out err peak_bytes major_faults read_bytes group_peak_bytes "
                                  "group_kills group_swap_bytes")


class Skipped(Exception):
    """A case that could not be run here; its text says why."""


class Case:
    """`seconds` is a guess, for starting long cases first."""

    def __init__(self, name, function, *args, seconds=1.0):
        self.name, self.seconds = name, seconds
        self.run = lambda: function(*args)


class Once:
    """A result that several cases share: computed by the first that asks."""

    def __init__(self, compute):
        self.compute, self.lock, self.result, self.error = compute, threading.Lock(), None, None

    def __call__(self):
        with self.lock:
            if self.result is None and self.error is None:
                try:
                    self.result = self.compute()
                except Exception as error:  # each case that needs it fails for the same reason
                    self.error = error
        if self.error is not None:
            raise self.error
        return self.result


class Leat:
    def __init__(self, program, tools, work):
        self.program, self.tools, self.work = os.path.abspath(program), os.path.abspath(tools), work
        self.timeout = 600
        self.running = set()
        self.has_sanitizer = self.is_sanitized()
        self.version = Once(lambda: self.json("version", "--json"))
        environment = {name: os.environ[name] for name in ("PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_LIBRARY_PATH")
                       if name in os.environ}
        self.environment = dict(environment, HOME=work, XDG_CONFIG_HOME=work, XDG_STATE_HOME=work, XDG_CACHE_HOME=work,
                                XDG_RUNTIME_DIR=work)  # leases of these runs alone

    def is_sanitized(self):
        """Sanitizers take memory that no budget knows of."""
        try:
            build = os.path.dirname(os.path.dirname(self.tools))
            with open(os.path.join(build, "meson-info", "intro-buildoptions.json"), encoding="utf-8") as f:
                return any(option["name"] == "b_sanitize" and option["value"] not in ("none", [], ["none"])
                           for option in json.load(f))
        except (OSError, ValueError):
            return False

    def tool(self, name):
        path = os.path.join(self.tools, name)
        assert os.access(path, os.X_OK), "%s is not built; give its folder as the second argument" % path
        return path

    def file(self, suffix):
        handle, path = tempfile.mkstemp(suffix=suffix, dir=self.work)
        os.close(handle)
        return path

    def tokens_file(self, ids):
        path = self.file(".ids")
        with open(path, "w", encoding="ascii") as stream:
            stream.write(" ".join(map(str, ids)))
        return path

    def start(self, command, timeout=None):
        process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.running.add(process)
        try:
            out, err = process.communicate(timeout=timeout or self.timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise AssertionError("no end after %d s: %s" % (timeout or self.timeout, shell(command))) from None
        finally:
            self.running.discard(process)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def stop_all(self):
        for process in list(self.running):
            process.kill()

    def measure(self, *args, group=None, timeout=None, program=None):
        """One run and its peak; inside `group`, a memory_group.Group, if given."""
        report = self.file(".peak")
        command = [program or self.program, *args]
        done = self.start([self.tool("measure_peak"), report, group.folder if group else "-", *command], timeout)
        assert done.returncode == 0, "measure_peak failed: %s" % done.stderr.decode(errors="replace")
        with open(report, encoding="ascii") as stream:
            how, *numbers = stream.read().split()
        os.unlink(report)
        number, peak_kib, major_faults, blocks = map(int, numbers)
        code, signal = (number, None) if how == "exit" else (None, number)
        of_group = (group.peak_bytes(), group.kill_count(), group.swap_bytes()) if group else (None, None, None)
        return Measured(code, signal, done.stdout, done.stderr.decode(errors="replace"), peak_kib << 10, major_faults,
                        blocks << 9, *of_group)

    def measure_in_budget(self, *args, budget_bytes, allowance_bytes, is_grouped):
        """As measure, and whatever exceeds budget + allowance fails."""
        most = budget_bytes + allowance_bytes
        if is_grouped:
            with memory_group(most) as group:
                done = self.measure(*args, group=group)
        else:
            done = self.measure(*args)
        assert done.group_kills in (None, 0), "killed for holding more than %d + %d bytes: %s" % (
            budget_bytes, allowance_bytes, self.shown(args))
        assert done.group_swap_bytes in (None, 0), "%d bytes of swap in use: %s" % (
            done.group_swap_bytes, self.shown(args))
        expect_success(done, self.shown(args))
        assert self.has_sanitizer or done.peak_bytes <= most, "peak RSS %d, the budget %d + %d: %s" % (
            done.peak_bytes, budget_bytes, allowance_bytes, self.shown(args))
        return done

    def run(self, *args, timeout=None):
        done = self.start([self.program, *args], timeout)
        code, signal = (done.returncode, None) if done.returncode >= 0 else (None, -done.returncode)
        return Measured(code, signal, done.stdout, done.stderr.decode(errors="replace"), *[None] * 6)

    def json(self, *args):
        done = self.run(*args)
        expect_success(done, self.shown(args))
        return json.loads(done.out)

    def plan(self, model, *options):
        return self.json("plan", model, "--json", "--probe", "off", *options)

    def shown(self, args):
        return shell(["leat", *args])


def shell(command):
    """For people to read and, where no word is long, to run."""
    return " ".join(shlex.quote(word if len(word) < 200 else word[:80] + "[...]" + word[-20:]) for word in command)


def how_it_ended(done):
    return "signal %d" % done.signal if done.signal is not None else "exit %d" % done.code


def expect_success(done, shown):
    assert done.code == 0, "%s: %s: %s" % (how_it_ended(done), shown, done.err.strip()[-400:] or "no message")

"""A memory cgroup of a given size for one run of a program, version 1 or 2, where the system lets us make one."""
import atexit
import contextlib
import itertools
import os
import re
import threading
import time

counter = itertools.count(1)
made = set()
made_lock = threading.Lock()


def has_swap():
    with open("/proc/meminfo", encoding="ascii") as lines:
        return not any(line.split() == ["SwapTotal:", "0", "kB"] for line in lines)


class Unavailable(Exception):
    pass


def read(path):
    with open(path, encoding="ascii") as stream:
        return stream.read()


def write(path, text):
    with open(path, "w", encoding="ascii") as stream:
        stream.write(text)


def candidates():
    """(version, folder in which a group may be made), the process's own group first, then the root of the mount."""
    try:
        memberships = [line.split(":", 2) for line in read("/proc/self/cgroup").splitlines()]
        mounts = [line.split() for line in read("/proc/self/mounts").splitlines()]
    except OSError:
        return
    for mount in mounts:
        place, kind, options = mount[1], mount[2], mount[3].split(",")
        if kind == "cgroup" and "memory" in options:
            own = [path for _, controllers, path in memberships if "memory" in controllers.split(",")]
            version = 1
        elif kind == "cgroup2":
            own = [path for number, _, path in memberships if number == "0"]
            version = 2
        else:
            continue
        for path in own + ["/"]:
            folder = os.path.normpath(place + path)
            if os.path.isdir(folder):
                yield version, folder


def remove_left_over(parent):
    """Groups of a test run that was killed before it could clean up."""
    for name in os.listdir(parent):
        pid = re.fullmatch(r"leat-test-(\d+)-\d+", name)
        if pid and not os.path.isdir("/proc/" + pid.group(1)):
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(parent, name))


def remove(folder):
    """The kernel frees a group some time after its last process has gone."""
    for _ in range(100):
        try:
            os.rmdir(folder)
            break
        except FileNotFoundError:
            break
        except OSError:
            time.sleep(0.05)
    with made_lock:
        made.discard(folder)


@atexit.register
def remove_all():
    for folder in list(made):
        remove(folder)


class Group:
    def __init__(self, version, parent, limit_bytes):
        self.version = version
        self.limit_bytes = limit_bytes
        self.folder = os.path.join(parent, "leat-test-%d-%d" % (os.getpid(), next(counter)))
        try:
            with made_lock:
                made.add(self.folder)
                os.mkdir(self.folder)
            self.limit()
        except OSError as error:
            remove(self.folder)
            raise Unavailable("%s: %s" % (error.filename, error.strerror)) from error

    def path(self, name):
        return os.path.join(self.folder, name)

    def limit(self):
        if self.version == 1:
            write(self.path("memory.limit_in_bytes"), str(self.limit_bytes))
            write(self.path("memory.swappiness"), "0")
            swap, swap_limit = self.path("memory.memsw.limit_in_bytes"), str(self.limit_bytes)
        else:
            write(self.path("memory.max"), str(self.limit_bytes))
            swap, swap_limit = self.path("memory.swap.max"), "0"
        if os.path.exists(swap):
            write(swap, swap_limit)

    def peak_bytes(self):
        """Page cache included. None where the kernel does not say."""
        try:
            return int(read(self.path("memory.max_usage_in_bytes" if self.version == 1 else "memory.peak")))
        except OSError:
            return None

    def swap_bytes(self):
        """The most swap in use. Version 1 tells it only if it came on top of the peak of memory; both peaks are counted apart and
        may differ by a page, so a machine without swap is not asked."""
        if not has_swap():
            return 0
        try:
            if self.version == 2:
                return int(read(self.path("memory.swap.peak")))
            return max(0, int(read(self.path("memory.memsw.max_usage_in_bytes"))) - self.peak_bytes())
        except OSError:
            return None

    def kill_count(self):
        text = read(self.path("memory.oom_control" if self.version == 1 else "memory.events"))
        found = re.search(r"^oom_kill (\d+)$", text, re.M)
        return int(found.group(1)) if found else 0


@contextlib.contextmanager
def memory_group(limit_bytes):
    """A group that holds no more than limit_bytes; Unavailable with the reasons where none can be made."""
    reasons = []
    for version, parent in candidates():
        remove_left_over(parent)
        try:
            group = Group(version, parent, limit_bytes)
        except Unavailable as why:
            reasons.append(str(why))
            continue
        try:
            yield group
        finally:
            remove(group.folder)
        return
    raise Unavailable("no memory cgroup can be made here (%s)" % ("; ".join(reasons) or "none is mounted"))


def group_hindrance():
    """Why there are no memory cgroups here, or None."""
    try:
        with memory_group(256 << 20):
            return None
    except Unavailable as why:
        return str(why)

"""Packages from PyPI for tests, in a virtual environment outside the tree that is made once and kept.

`python_with("openai")` is the path of a Python that can import it, or raises Unavailable with the reason.
$LEAT_CLIENT_PYTHON names one that has everything; otherwise it lies in the user's cache folder.
"""
import os
import subprocess
import sys
import venv


class Unavailable(Exception):
    pass


def can_import(python, packages):
    code = ";".join("import " + name for name in packages)
    return subprocess.run([python, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def install(folder, packages):
    python = os.path.join(folder, "bin/python")
    if not os.path.exists(python):
        try:
            venv.create(folder, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as why:
            raise Unavailable("no virtual environment can be made (package python3-venv?): %s" % why)
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "10", *packages],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable("pip cannot install %s: %s" % (", ".join(packages), (done.stderr.strip().splitlines() or ["?"])[-1][:200]))
    return python


def python_with(*packages):
    given = os.environ.get("LEAT_CLIENT_PYTHON")
    if given:
        if can_import(given, packages):
            return given
        raise Unavailable("$LEAT_CLIENT_PYTHON cannot import " + ", ".join(packages))
    if can_import(sys.executable, packages):
        return sys.executable
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(cache, "leat-test-clients")
    python = os.path.join(folder, "bin/python")
    if os.path.exists(python) and can_import(python, packages):
        return python
    return install(folder, packages)

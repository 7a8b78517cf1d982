"""docs/quick-start.md, block by block: what a reader would type is run, and a ```text block behind it is what has to come.

The first word of a block's label says what it is, the second how it is run: `sh` alone as it stands; `sh server` in the
background until the next server; `sh chat` with the lines behind >>> of its text as input; `sh packages`, `sh build`,
`sh clients` and `sh root` change the machine and are compared with what the tests' own set-up does. In a text, ... stands
for anything.
"""
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

import client
import client_packages
from client import ROOT, skip, until

PAGE = os.path.join(ROOT, "docs/quick-start.md")
LABELS = {"sh", "sh packages", "sh build", "sh chat", "sh server", "sh clients", "sh root", "python", "ini"}


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def blocks():
    """(label, what to type, what has to come)"""
    found = []
    for label, text in re.findall(r"^```([^\n]*)\n(.*?)^```$", read(PAGE), re.M | re.S):
        if label == "text":
            assert found and found[-1][2] == "", "a text without a command before it"
            found[-1] = found[-1][:2] + (text,)
        else:
            assert label in LABELS, "unknown label: " + label
            found.append((label, text, ""))
    assert {label for label, _, _ in found} == LABELS, "the page lost a part"
    return found


def of(label):
    return [(text, wanted) for found, text, wanted in blocks() if found == label]


def expect_lines(wanted, output):
    """Every wanted line in this order; ... is anything."""
    at = 0
    lines = output.splitlines()
    for line in wanted.splitlines():
        pattern = ".*".join(re.escape(part.strip()) for part in line.split("..."))
        while at < len(lines) and not re.fullmatch(pattern, lines[at].strip()):
            at += 1
        assert at < len(lines), "missing: %r in\n%s" % (line, output)
        at += 1


class Reader:
    """Someone who follows the page, in a folder that looks like the source after the build."""

    def __init__(self, folder):
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        os.symlink(os.path.join(ROOT, "models"), folder + "/models")
        os.makedirs(folder + "/build/apps/cli")
        os.symlink(client.LEAT, folder + "/build/apps/cli/leat")
        self.env = {"PATH": folder + "/build/apps/cli:" + os.environ["PATH"], "HOME": folder, "XDG_RUNTIME_DIR": folder}
        self.env.update({name: os.environ[name] for name in os.environ if name.endswith("SAN_OPTIONS")})
        self.server = None

    def text(self, text):
        return text.replace("8080", str(self.port))

    def run(self, command, stdin=None):
        """What it prints on standard output."""
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=client.PATIENCE,
                              **({"input": stdin} if stdin else {"stdin": subprocess.DEVNULL}))
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def type(self, label, text, wanted):
        lines = re.findall(r"^>>> (.*)$", wanted, re.M)
        output = self.run(["bash", "-euc", self.text(text)], stdin="\n".join(lines) + "\n" if label == "sh chat" else None)
        expect_lines("\n".join(line for line in self.text(wanted).splitlines() if not line.startswith(">>> ")), output)

    def serve(self, text, wanted):
        self.stop()
        # The port of the page may be taken on this machine: the server is told by the environment.
        self.log = open(self.folder + "/server.log", "w+")
        self.server = subprocess.Popen(["bash", "-euc", "exec " + text], cwd=self.folder, env=dict(self.env, LEAT_PORT=str(self.port)), stdin=subprocess.DEVNULL,
                                       stdout=self.log, stderr=subprocess.STDOUT)
        until(lambda: re.search("^ready$", self.said(), re.M) or self.server.poll() is not None, "a server that is ready")
        assert self.server.poll() is None, self.said()
        expect_lines(self.text(wanted), self.said())

    def said(self):
        with open(self.folder + "/server.log") as file:
            return file.read()

    def stop(self):
        """As Ctrl-C does."""
        if not self.server:
            return
        self.server.send_signal(signal.SIGINT)
        assert self.server.wait(client.PATIENCE) == 0, self.said()
        self.server = None
        self.log.close()


@contextlib.contextmanager
def reader():
    with tempfile.TemporaryDirectory(prefix="leat-page-") as folder:
        someone = Reader(folder)
        try:
            yield someone
            someone.stop()
        finally:
            if someone.server:
                someone.server.kill()
                someone.server.wait()


def test_quick_start_shell():
    for tool in ("bash", "curl", "openssl"):
        if not shutil.which(tool):
            skip(tool + " is not installed")
    with reader() as someone:
        for label, text, wanted in blocks():
            if label in ("sh", "sh chat"):
                someone.type(label, text, wanted)
            elif label == "sh server":
                someone.serve(text, wanted)


def test_quick_start_python():
    try:
        python = client_packages.python_with("openai")
    except client_packages.Unavailable as why:
        skip("the openai package cannot be had: %s" % why)
    mark = "---- next block ----"
    parts = of("python")
    assert len(parts) == 3
    with reader() as someone:
        someone.serve(*of("sh server")[0])
        script = ("\nprint(%r)\n" % mark).join(someone.text(text) for text, _ in parts)
        outputs = someone.run([python, "-c", script]).split(mark)
    for (_, wanted), output in zip(parts, outputs):
        expect_lines(wanted, output)
        assert output.strip(), "nothing was printed"


def test_quick_start_build():
    """The packages are those that ./check installs, less what only tests need; meson takes the command as it is."""
    setup = read("tools/setup.sh")
    known = set(re.search(r"packages=\((.*?)\)", setup, re.S).group(1).split())
    named = set(of("sh packages")[0][0].split()[3:])
    assert known - named == {"libcmocka-dev", "libsimde-dev", "python3", "man-db"}, known ^ named
    lines = of("sh build")[0][0].splitlines()
    assert lines[1:] == ["ninja -C build", "export PATH=$PWD/build/apps/cli:$PATH"], lines
    if not shutil.which("meson"):
        skip("meson is not installed")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["bash", "-euc", lines[0].replace("setup build", "setup %s/build" % folder)], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        program = subprocess.run(["ninja", "-C", folder + "/build", "-t", "targets", "all"], capture_output=True, text=True).stdout
        assert "apps/cli/leat:" in program and "tests/" not in program


def test_quick_start_clients():
    assert of("sh clients")[0][0] == "python3 -m venv clients\nclients/bin/pip install openai\n"


def test_quick_start_service_files():
    """Also where root's files are nobody else's, others may read the settings and the model, and nobody else the key."""
    lines = [line for line in of("sh root")[0][0].splitlines() if "/etc/leat" in line or "/srv" in line]
    with tempfile.TemporaryDirectory() as folder:
        for name in ("etc", "srv"):
            os.mkdir(folder + "/" + name)
        with open(folder + "/config", "w") as file:
            file.write(of("ini")[0][0])
        os.symlink(os.path.join(ROOT, "models"), folder + "/models")
        script = "umask 077\n" + re.sub(r"(?<=\s)/(?=etc/|srv/)", folder + "/", "\n".join(lines))
        done = subprocess.run(["bash", "-euc", script], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        mode = lambda name: os.stat(folder + name).st_mode & 0o777
        assert (mode("/etc/leat"), mode("/etc/leat/config"), mode("/etc/leat/api-key")) == (0o755, 0o644, 0o600)
        model = re.search(r"^model = (.*)$", of("ini")[0][0], re.M).group(1)
        for found in [model, *(os.path.join(model, name) for name in os.listdir(folder + model))]:
            assert mode(found) & 0o044 == 0o044, found


def test_quick_start_service():
    """The settings are ones that the server takes; the commands name what is installed."""
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/config", "w") as file:
            file.write(of("ini")[0][0])
        out = subprocess.run([client.LEAT, "serve", "--print-config", "--config", folder + "/config"], capture_output=True, text=True, check=True).stdout
        for line in ("model = /srv/models/brook", "alias = brook", "ram = 12GiB", "ctx = 8192"):
            assert "%s  # %s/config" % (line, folder) in out.splitlines(), (line, out)
    unit, commands = read("dist/systemd/leat.service.in"), of("sh root")[0][0]
    assert "\nExecStart=@BINDIR@/leat serve\n" in unit and "api-key:/etc/leat/api-key" in unit and "/etc/leat/api-key" in commands
    assert "MemoryMax=26G" in unit and "IPAddressAllow=localhost" in unit
    for name in re.findall(r"leat\.\w+", commands):
        assert os.path.exists(os.path.join(ROOT, "dist/systemd", name)) or os.path.exists(os.path.join(ROOT, "dist/systemd", name + ".in")), name

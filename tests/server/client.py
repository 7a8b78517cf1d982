"""What the tests of the server share: programs under test, raw sockets, replies taken apart."""
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from case_runner import skip  # cases take it from here, runners find the module

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODEL = "models/brook"
LEAT = PROBE = None
PATIENCE = float(os.environ.get("LEAT_TEST_PATIENCE", 60))  # seconds until something counts as not happening
JSON = "Content-Type: application/json\r\n"


def until(condition, what):
    """Waits for the truth of a condition, with patience."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.02)
    raise AssertionError("never came about: " + what)


class Reply:
    def __init__(self, status, headers, body, is_whole):
        self.status, self.headers, self.body, self.is_whole = status, headers, body, is_whole

    def json(self):
        return json.loads(self.body)

    def code(self):
        """Of an error body, whose four keys have to be there."""
        error = self.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}, error
        assert isinstance(error["message"], str) and isinstance(error["type"], str)
        # Where there is no memory even for an error, its body is the same for all.
        assert self.json().get("request_id") == self.headers["x-request-id"] or error["message"] == "out of memory", self
        return error["code"]

    def __repr__(self):
        return "%s %r %r" % (self.status, self.headers, self.body[:500])


class Client:
    """One connection."""

    def __init__(self, address):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self.waiting = b""

    def send(self, data):
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def request(self, method, path, headers="", body=None, host="localhost"):
        if body is not None:
            body = body if isinstance(body, bytes) else body.encode()
            headers += JSON if "Content-Type" not in headers else ""
            headers += "Content-Length: %d\r\n" % len(body)
        self.send("%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (method, path, host, headers))
        return self.send(body or b"")

    def more(self):
        """False at the end of the connection."""
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self.waiting += data
        return bool(data)

    def take_until(self, mark):
        while mark not in self.waiting:
            if not self.more():
                return None
        head, self.waiting = self.waiting.split(mark, 1)
        return head

    def take(self, count):
        while len(self.waiting) < count:
            if not self.more():
                return None
        head, self.waiting = self.waiting[:count], self.waiting[count:]
        return head

    def take_chunks(self):
        body = b""
        while True:
            size = self.take_until(b"\r\n")
            if size is None:
                return body, False
            if int(size, 16) == 0:
                return body, self.take_until(b"\r\n") is not None
            piece = self.take(int(size, 16) + 2)
            if piece is None:
                return body, False
            body += piece[:-2]

    def take_head(self):
        head = self.take_until(b"\r\n\r\n")
        if head is None:
            return None, None
        lines = head.decode("latin-1").split("\r\n")
        fields = {}
        for line in lines[1:]:
            name, value = line.split(": ", 1)
            assert name.lower() not in fields, "sent twice: " + line
            fields[name.lower()] = value
        return int(lines[0].split()[1]), fields

    def reply(self, has_body=True):
        """The next reply; None when the connection ends before it."""
        status, headers = self.take_head()
        if status is None:
            return None
        if headers.get("transfer-encoding") == "chunked":
            body, is_whole = self.take_chunks()
        else:
            body = self.take(int(headers.get("content-length", 0))) if has_body and status != 204 else b""
            body, is_whole = body or b"", body is not None
        return Reply(status, headers, body, is_whole)

    def is_ended(self):
        """Waits for the end, which must come without more data."""
        return not self.more()

    def reset(self):
        """Ends with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()


class Server:
    """A running program; `address` is where it listens."""

    def __init__(self, command, limits="", env=None, ready=True, pass_fds=(), preexec_fn=None):
        self.home = tempfile.TemporaryDirectory(prefix="leat-server-")
        home = self.home.name
        environment = {"PATH": "/usr/bin:/bin", "HOME": home, "XDG_CACHE_HOME": home + "/cache", "XDG_CONFIG_HOME": home + "/config",
                       "XDG_STATE_HOME": home + "/state", "XDG_RUNTIME_DIR": home, "LEAT_SERVE_LIMITS": limits}
        environment.update({name: os.environ[name] for name in os.environ if name.endswith("SAN_OPTIONS")})
        environment.update(env or {})
        self.log_path = home + "/stderr"
        self.out_path = home + "/stdout"
        with open(self.log_path, "wb") as log, open(self.out_path, "wb") as out:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                                            pass_fds=pass_fds, preexec_fn=preexec_fn)
        self.address = None
        self.is_stopping = False
        if ready:
            self.wait_until_listening()

    def log(self):
        with open(self.log_path, "rb") as file:
            return file.read().decode("utf-8", "surrogateescape")

    def out(self):
        with open(self.out_path, "rb") as file:
            return file.read().decode()

    def find_address(self):
        assert self.process.poll() is None, "ended: " + self.log()
        for word in (self.log() + " " + self.out()).split():
            if word.startswith("http://"):
                host, _, port = word[7:].rpartition(":")
                if port.isdigit():
                    return (host.strip("[]"), int(port))
            if word.startswith("unix:"):
                return word[5:]
        return None

    def wait_until_listening(self):
        self.address = until(self.find_address, "listening")
        return self

    def wait_until_ready(self):
        until(lambda: self.get("/health").status == 200, "a loaded model")
        return self

    def connect(self):
        return Client(self.address)

    def ask(self, *args, **named):
        client = self.connect()
        reply = client.request(*args, **named).reply(has_body=args[0] != "HEAD")
        client.close()
        return reply

    def get(self, path, headers="", **named):
        return self.ask("GET", path, headers, **named)

    def counts(self):
        return self.get("/counts").json()

    def stop(self, number=signal.SIGTERM):
        """Its exit code."""
        self.begin_stop(number)
        return self.wait()

    def begin_stop(self, number=signal.SIGTERM):
        """Once only: a second signal means something else."""
        if self.process.poll() is None and not self.is_stopping:
            self.process.send_signal(number)
        self.is_stopping = True

    def wait(self):
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("it does not end: " + self.log()[-3000:])

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None and self.process.poll() is None:
            print("--- log of the server\n" + self.log()[-3000:])
        code = self.stop() if kind is None else None
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        log = self.log()
        self.home.cleanup()
        if kind is None:
            assert code in (0, None) or getattr(self, "may_fail", False), "exit %s: %s" % (code, log[-3000:])
            assert "Sanitizer" not in log and "runtime error" not in log, log[-6000:]


def probe(limits="", *arguments, env=None):
    return Server([PROBE, *arguments], limits, env)


def leat(*arguments, limits="", env=None, port=True, model=MODEL, **named):
    extra = ["--port", "0"] if port else []
    return Server([LEAT, "serve", model, "--ctx", "256", *extra, *arguments], limits, env, **named)


def little_memory(*arguments):
    """Options that leave so little room that every request reads experts."""
    plan = subprocess.run([LEAT, "plan", MODEL, "--ctx", "256", "--json", *arguments], cwd=ROOT, capture_output=True, check=True)
    return ["--ram", str(json.loads(plan.stdout)["floor_bytes"] + (1 << 20)), *arguments]


def run(*arguments, env=None):
    """leat serve that is expected to end by itself."""
    server = leat(*arguments, env=env, port=False, ready=False)
    code = server.wait()
    result = code, server.out(), server.log()
    server.home.cleanup()
    return result


def in_background(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread

"""leat serve as a process: addresses, keys, signals, systemd, the sandbox, what it prints instead of serving."""
import errno
import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time

import client
import soak
from client import MODEL, Client, leat, run, skip, until


def test_health_live_version():
    with leat() as server:
        assert server.get("/livez").status == 200
        first = server.get("/health")
        assert first.status in (200, 503)
        server.wait_until_ready()
        assert server.get("/health").json() == {"status": "ok"}
        assert set(server.get("/version").json()) == {"version", "build", "engine"}
        assert server.get("/nothing").status == 404


def test_health_while_loading():
    """A small model is there at once: the variable makes it wait."""
    with leat(env={"LEAT_SERVE_TEST_LOAD_MS": "1500"}) as server:
        reply = server.get("/health")
        assert reply.status == 503 and reply.headers["retry-after"] == "5", reply
        body = reply.json()
        assert body["error"] == {"code": 503, "message": "Loading model", "type": "unavailable_error"}, body
        assert body["status"] == "loading" and 0 <= body["progress"] <= 1
        assert server.get("/livez").status == 200
        server.wait_until_ready()


def chat_body(**fields):
    return json.dumps(dict({"messages": [{"role": "user", "content": "What is 2+2?"}], "temperature": 0}, **fields))


def busy_server(*arguments, hang_ms=600000, **named):
    """Its engine does nothing for so long when it is given a job."""
    env = dict({"LEAT_SERVE_TEST_HANG_MS": str(hang_ms)}, **named.pop("env", {}))
    return leat(*arguments, env=env, **named).wait_until_ready()


def test_health_while_stopping():
    with busy_server("--drain", "600", hang_ms=2000) as server:
        kept = server.connect()
        assert kept.request("GET", "/health").reply().status == 200
        busy = server.connect().request("POST", "/v1/chat/completions", body=chat_body())
        until(lambda: server.get("/metrics").body.count(b"leat_requests_in_flight{model=\"brook\"} 2\n"), "it runs")
        server.begin_stop()
        until(lambda: "stopping" in server.log(), "it stops")
        reply = kept.request("GET", "/health").reply()
        assert reply.status == 503 and reply.json()["status"] == "stopping" and reply.headers["retry-after"] == "5", reply
        assert reply.json()["error"] == {"code": 503, "message": "The server is shutting down", "type": "unavailable_error"}
        assert kept.request("GET", "/livez").reply().status == 200
        kept.close()
        assert busy.reply().status == 200, "what runs is finished"
        busy.close()


def test_end_waits_for_the_engine():
    """A step that takes longer than clients are waited for ends before what it works with is taken away."""
    with busy_server("--drain", "0", hang_ms=4000) as server:
        stream = server.connect().request("POST", "/v1/chat/completions", body=chat_body(stream=True))
        assert stream.take_head()[0] == 200
        queued = server.connect().request("POST", "/v1/chat/completions", body=chat_body())
        until(lambda: server.get("/slots").json()[0]["queued"] == 1, "one waits")
        assert server.stop() == 0
        assert queued.reply().code() == "shutting_down"
        body, is_whole = stream.take_chunks()
        assert is_whole and b"shutting_down" in body, body


def test_template_file():
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/own.jinja"
        with open(path, "w") as file:
            file.write("{% for m in messages %}[{{ m.role }}|{{ m.content }}]{% endfor %}")
        with leat("--template", path) as server:
            server.wait_until_ready()
            reply = server.ask("POST", "/apply-template", body=chat_body()).json()
            assert reply == {"prompt": "<bos>[user|What is 2+2?]"}, reply
            assert server.get("/props").json()["chat_template"].startswith("{% for m in messages %}[")
        with open(path, "w") as file:
            file.write("{% for %}")
        code, _, err = run("--template", path, "--port", "0")
        assert code == 3 and "--template " + path in err, (code, err)
        assert run("--template", folder + "/none", "--port", "0")[0] == 2


def test_templates_have_local_time():
    """The file of the zone is read before the sandbox closes."""
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/time.jinja"
        with open(path, "w") as file:
            file.write("{{ strftime_now('%Y-%m-%d %H') }}")
        if not os.path.exists("/usr/share/zoneinfo/Pacific/Kiritimati"):
            skip("the system has no file of that time zone")
        with leat("--template", path, env={"TZ": "Pacific/Kiritimati"}) as server:
            server.wait_until_ready()

            def hours():
                return time.strftime("<bos>%Y-%m-%d %H", time.gmtime(time.time() + 14 * 3600))
            before = hours()
            reply = server.ask("POST", "/apply-template", body=chat_body()).json()["prompt"]
            assert reply in (before, hours()), reply


def test_unknown_fields_are_told_once():
    with leat("-v") as server:
        server.wait_until_ready()
        for _ in range(3):
            fields = {"tempratur": 1, "nul\n": 1, "max_tokens": 1, "user": "x", "top_k": 3, "n" * 60: 1}
            assert server.ask("POST", "/v1/chat/completions", body=chat_body(**fields)).status == 200
            assert server.ask("POST", "/v1/completions", body=json.dumps({"prompt": "a", "max_tokens": 1, "ech": True})).status == 200
        log = server.log()
        assert log.count("'tempratur'") == 1 and log.count("'ech'") == 1 and log.count("not known") == 2, log
    with leat() as server:
        server.wait_until_ready()
        server.ask("POST", "/v1/chat/completions", body=chat_body(tempratur=1, max_tokens=1))
        assert "tempratur" not in server.log()


# ---- metrics of HTTP ----


def metric(server, name):
    """The sum of a metric's series whose beginning is given."""
    lines = server.get("/metrics").body.decode().splitlines()
    found = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)]
    assert found, name
    return sum(found)


def count_of(server, route, code):
    line = 'leat_requests_total{model="brook",route="%s",code="%d"} ' % (route, code)
    return metric(server, line) if line in server.get("/metrics").body.decode() else 0


def test_requests_are_counted():
    with leat() as server:
        server.wait_until_ready()
        for _ in range(3):
            server.get("/version")
        server.get("/v1/models/other"), server.get("/v1/models/brook")
        server.get("/nothing"), server.ask("POST", "/version", body="{}")
        server.ask("POST", "/v1/chat/completions", body="{")
        server.ask("POST", "/v1/chat/completions", body=chat_body())
        server.ask("POST", "/v1/chat/completions", body=chat_body(stream=True))
        leaving = server.connect().send("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        until(lambda: metric(server, "leat_requests_in_flight") == 2, "the scrape and one more")
        leaving.close()
        for route, code, count in (("/version", 200, 3), ("/v1/models/*", 404, 1), ("/v1/models/*", 200, 1), ("", 404, 1), ("", 405, 1),
                                   ("/v1/chat/completions", 400, 1), ("/v1/chat/completions", 200, 2), ("/tokenize", 499, 1)):
            until(lambda: count_of(server, route, code) == count, "%s %d: %d" % (route, code, count))
        until(lambda: metric(server, "leat_requests_in_flight") == 1, "the scrape alone")


def test_memory_of_requests_is_counted():
    with leat() as server:
        server.wait_until_ready()
        before = metric(server, 'leat_ram_used_bytes{model="brook",pool="http"}')
        half = server.connect().send("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                                     "Content-Length: 3000000\r\n\r\n").send(b" " * 2000000)
        until(lambda: metric(server, 'leat_ram_used_bytes{model="brook",pool="http"}') >= before + 2000000, "the body is counted")
        half.close()
        until(lambda: metric(server, 'leat_ram_used_bytes{model="brook",pool="http"}') < before + 100000, "and forgotten")


def test_memory_of_requests_is_bounded():
    """What 17 bodies become, of which each would take 12 MB, would be 200 MB."""
    bound = (64 << 20) + 11 * (512 << 10)
    with busy_server("--max-body", "512KiB", "--drain", "0", hang_ms=6000) as server:
        body = json.dumps({"messages": [{"role": "user", "content": "a"}], "metadata": {"a": [0] * 150000}})
        before = int(status_of(server, "VmRSS"))
        clients = [server.connect().request("POST", "/v1/chat/completions", body=body) for _ in range(17)]
        until(lambda: any(select.select([client.socket], [], [], 0)[0] for client in clients), "one is refused")
        refused = next(client for client in clients if select.select([client.socket], [], [], 0)[0]).reply()
        assert refused.status == 503 and refused.code() == "out_of_memory", refused
        assert metric(server, 'leat_ram_used_bytes{model="brook",pool="http"}') <= bound
        assert server.get("/health").status == 200
        grown = (int(status_of(server, "VmRSS")) - before) << 10
        if not is_sanitized(server):
            assert grown < bound + (32 << 20), grown
        for client in clients:
            client.close()
        until(lambda: metric(server, 'leat_ram_used_bytes{model="brook",pool="http"}') < 30 << 20, "room again")
        until(lambda: server.ask("POST", "/tokenize", body='{"content": "a"}').status == 200, "a small one is served")


def is_sanitized(server):
    return re.search(b"lib[a-z]*san", of_process(server, "maps")) is not None


def test_addresses():
    with leat("--host", "127.0.0.1") as server:
        assert server.address[0] == "127.0.0.1" and server.address[1] > 0
        code, _, err = run("--port", str(server.address[1]))
        assert code == 6 and "in use" in err, (code, err)
    with leat("--host", "localhost") as server:
        assert server.get("/livez").status == 200
    if not os.path.exists("/proc/net/if_inet6") or "00000000000000000000000000000001" not in open("/proc/net/if_inet6").read():
        skip("no IPv6 here")
    for host in ("::1", "[::1]"):
        with leat("--host", host) as server:
            assert server.address[0] == "::1" and server.get("/livez", host="[::1]").status == 200


def test_bad_addresses():
    code, _, err = run("--host", "no.such.host.invalid")
    assert code == 2 and "--host" in err, err
    code, _, err = run("--host", "unix:relative")
    assert code == 2, err
    code, _, err = run("--host", "192.0.2.1")
    assert code == 6 and "cannot listen" in err, err
    code, _, err = run("--port", "70000")
    assert code == 2 and "65535" in err, err
    if os.geteuid() != 0:
        assert run("--port", "1")[0] == 6


def test_other_machines_need_a_key():
    code, _, err = run("--host", "0.0.0.0", "--port", "0")
    assert code == 2 and "no API key" in err and "--insecure-no-auth" in err, err
    with leat("--host", "0.0.0.0", "--insecure-no-auth") as server:
        server.address = ("127.0.0.1", server.address[1])
        assert server.get("/version", host="any.example").status == 200
    with leat("--host", "0.0.0.0", "--api-key", "k1") as server:
        server.address = ("127.0.0.1", server.address[1])
        assert server.get("/version").status == 401 and server.get("/health").status in (200, 503)


def test_unix_socket():
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/leat.sock"
        with leat("--host", "unix:" + path, port=False) as server:
            assert server.address == path
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
            assert server.get("/livez", host="whatever").status == 200
            code, _, err = run("--host", "unix:" + path)
            assert code == 6 and "in use" in err, err
            server.process.kill()
            server.process.wait()
            assert os.path.exists(path)
            server.may_fail = True
        with leat("--host", "unix:" + path, port=False) as server:  # what is left over is no hindrance
            assert server.get("/livez").status == 200
            assert server.stop() == 0
        assert not os.path.exists(path)
        with open(path, "w"):
            pass
        assert run("--host", "unix:" + path)[0] == 6 and os.path.exists(path), "no file of others is removed"


def test_key_files():
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/keys"
        with open(path, "w") as file:
            file.write("# for the house\nfirst\n\nsecond\r\n")
        os.chmod(path, 0o644)
        code, _, err = run("--api-key-file", path, "--port", "0")
        assert code == 6 and "others" in err and "chmod 600" in err, err
        os.chmod(path, 0o600)
        with leat("--api-key-file", path, "--api-key", "third") as server:
            def status(key):
                return server.get("/version", "x-api-key: %s\r\n" % key).status
            assert [status(key) for key in ("first", "second", "third", "fourth")] == [200, 200, 200, 401]
            with open(path, "w") as file:
                file.write("fourth\n")
            server.process.send_signal(signal.SIGHUP)
            until(lambda: status("fourth") == 200, "keys are read again")
            assert [status("first"), status("third")] == [401, 200]
            with open(path, "w") as file:
                file.write("not a key\n")
            server.process.send_signal(signal.SIGHUP)
            until(lambda: "visible" in server.log(), "the bad file is named")
            assert status("fourth") == 200, "bad keys change nothing"
            assert "fourth" not in server.log() and "third" not in server.log()
        assert run("--api-key-file", folder + "/none")[0] == 2
        with open(path, "w") as file:
            file.write("# nothing\n")
        assert run("--api-key-file", path)[0] == 2


def test_key_from_systemd():
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/api-key", "w") as file:
            file.write("credential\n")
        with leat(env={"CREDENTIALS_DIRECTORY": folder}) as server:
            assert server.get("/version").status == 401
            assert server.get("/version", "Authorization: Bearer credential\r\n").status == 200


def test_a_key_from_systemd_that_cannot_be_read():
    with tempfile.TemporaryDirectory() as folder:
        with leat(env={"CREDENTIALS_DIRECTORY": folder}) as server:  # credentials of which none is ours
            assert server.get("/version").status == 200
        os.symlink("api-key", folder + "/api-key")
        code, _, err = run("--port", "0", env={"CREDENTIALS_DIRECTORY": folder})
        assert code == 2 and folder + "/api-key" in err, (code, err)
        os.unlink(folder + "/api-key")
        os.mkdir(folder + "/api-key")
        code, _, err = run("--port", "0", env={"CREDENTIALS_DIRECTORY": folder})
        assert code == 2 and "is not a file" in err, (code, err)


def test_keys_are_not_shown():
    for arguments in (("--api-key", "visible-secret"), ("--api-key=visible-secret",)):
        with leat(*arguments) as server:
            for name in ("cmdline", "environ"):
                assert b"visible-secret" not in of_process(server, name), name
    with leat(env={"LEAT_API_KEY": "visible-secret"}) as server:
        assert b"visible-secret" not in of_process(server, "environ")
        assert server.get("/version", "x-api-key: visible-secret\r\n").status == 200


def of_process(server, name):
    """What others see of it: nothing, where they are not root."""
    try:
        with open("/proc/%d/%s" % (server.process.pid, name), "rb") as file:
            return file.read()
    except PermissionError:
        return b""


# ---- signals ----


def test_signals_end_it():
    for number in (signal.SIGTERM, signal.SIGINT):
        with leat() as server:
            server.wait_until_ready()
            assert server.stop(number) == 0
    with leat() as server:  # while loading
        assert server.stop() == 0


def test_second_signal_ends_at_once():
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        # Nobody joins threads on that way out.
        with leat("--drain", "600", env={"TSAN_OPTIONS": "report_thread_leaks=0"}) as server:
            busy = hold(server)
            server.begin_stop(number)
            until(lambda: "stopping" in server.log(), "it stops")
            server.process.send_signal(number)
            assert server.wait() == code
            server.may_fail = True
            busy.close()


def test_state_is_told():
    with busy_server("--drain", "0", hang_ms=3000) as server:
        client = server.connect().request("POST", "/v1/chat/completions", body=chat_body())
        until(lambda: metric(server, "leat_requests_in_flight") == 2, "it runs")
        server.process.send_signal(signal.SIGQUIT)
        until(lambda: "state: model ok, engine " in server.log(), "a line in the log")
        assert re.search(r"; \d waiting; last progress \d+\.\d s ago; \d requests open; requests take \d+ bytes ", server.log()), server.log()
        assert client.reply().status == 200, "it goes on"


def hold(server):
    """A request whose body is waited for."""
    busy = server.connect().send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                                 "Content-Length: 10\r\n\r\n1")
    busy.socket.settimeout(0.5)
    try:
        busy.more()
        skip("no route takes a body")
    except TimeoutError:
        return busy


def test_log_file_is_opened_anew():
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/log"
        with leat("--log-file", path) as server:
            server.get("/livez")
            until(lambda: "GET /livez 200" in open(path).read(), "a line, which may come after the reply")
            os.rename(path, path + ".old")
            server.process.send_signal(signal.SIGHUP)
            until(lambda: os.path.exists(path), "a new file")
            server.get("/livez?secret=query")
            until(lambda: "GET /livez 200" in open(path).read(), "a line in the new file")
            assert "GET /livez 200" in open(path + ".old").read()
            assert "secret" not in open(path).read() and stat.S_IMODE(os.stat(path).st_mode) == 0o600


# ---- systemd ----


def activated(file, count=1, **named):
    """The server with the file as its descriptor 3. LISTEN_PID is only known behind the fork: a shell sets it."""
    command = ["/bin/sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=%d exec "$@"' % count, "sh", client.LEAT, "serve", MODEL, "--ctx", "256"]
    number = file.fileno()

    def inherit():
        if number != 3:
            os.dup2(number, 3)
        os.set_inheritable(3, True)

    return client.Server(command, pass_fds=(3, number) if number != 3 else (3,), preexec_fn=inherit, **named)


def test_socket_activation():
    with socket.create_server(("127.0.0.1", 0)) as listener, activated(listener) as server:
        assert server.address[1] == listener.getsockname()[1]
        assert server.get("/livez").status == 200


def test_socket_activation_with_something_else():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as connected, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, open(os.devnull) as nothing:
        for file, count, mark in ((listener, 2, "2 sockets were handed over"), (connected, 1, "not a stream socket that listens"),
                                  (datagrams, 1, "not a stream socket that listens"), (nothing, 1, "not a stream socket that listens")):
            with activated(file, count, ready=False) as server:
                server.may_fail = True
                assert server.wait() == 2 and mark in server.log(), (mark, server.log())


def test_notifications():
    with tempfile.TemporaryDirectory() as folder:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(folder + "/notify")
        listener.settimeout(client.PATIENCE)
        with leat(env={"NOTIFY_SOCKET": folder + "/notify", "WATCHDOG_USEC": "400000"}) as server:
            seen = ""
            while "READY=1" not in seen or "WATCHDOG=1" not in seen:
                seen += listener.recv(4096).decode() + "\n"
            server.begin_stop()
            while "STOPPING=1" not in seen:
                seen += listener.recv(4096).decode() + "\n"
        listener.close()


def test_watchdog_of_a_lost_engine():
    """It is not fed while nothing moves, and is again when something does. An engine without jobs moves once a second."""
    with tempfile.TemporaryDirectory() as folder:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(folder + "/notify")
        listener.settimeout(client.PATIENCE)
        env = {"NOTIFY_SOCKET": folder + "/notify", "WATCHDOG_USEC": "400000", "LEAT_SERVE_TEST_STUCK_MS": "2500"}
        with busy_server(hang_ms=8000, env=env) as server:
            busy = server.connect().request("POST", "/v1/chat/completions", body=chat_body())
            until(lambda: "not fed any more" in server.log(), "the lost engine is seen")
            assert "state: " in server.log()
            listener.setblocking(False)
            drop_all(listener)
            assert not select.select([busy.socket], [], [], 2)[0], "it is still lost"
            assert drop_all(listener).count("WATCHDOG") <= 1
            assert busy.reply().status == 200
            until(lambda: "WATCHDOG=1" in drop_all(listener), "it is fed again")
        listener.close()


def drop_all(listener):
    seen = ""
    try:
        while True:
            seen += listener.recv(4096).decode() + "\n"
    except BlockingIOError:
        return seen


# ---- the sandbox ----


def status_of(server, name):
    with open("/proc/%d/status" % server.process.pid) as file:
        return re.search(r"^%s:\s*(\S+)" % name, file.read(), re.M).group(1)


def test_sandbox():
    with tempfile.TemporaryDirectory() as readable, tempfile.TemporaryDirectory() as writable, \
            tempfile.TemporaryDirectory() as logs, tempfile.TemporaryDirectory() as sockets:
        for folder in (readable, logs, sockets):
            with open(folder + "/file", "w"):
                pass
        probe = os.path.join(os.path.dirname(client.PROBE), "sandbox_probe")
        # Where it may not read /proc, a build with a sanitizer cannot look for leaks.
        done = subprocess.run([probe, readable, writable, logs, sockets], capture_output=True, text=True, timeout=client.PATIENCE,
                              env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))
        assert done.returncode == 0, done
        tried = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()}
        if tried["landlock"]:
            assert [tried[name] for name in ("passwd", "read", "change", "create", "write")] == [errno.EACCES, 0, errno.EACCES, errno.EACCES, 0], tried
            assert [tried[name] for name in ("read_log", "append", "remove_log", "new_log")] == [errno.EACCES, 0, errno.EACCES, 0], tried
            assert [tried[name] for name in ("read_socket", "write_socket", "remove_socket")] == [errno.EACCES, errno.EACCES, 0], tried
        if tried["seccomp"]:
            assert [tried[name] for name in ("socket", "fork", "exec", "thread")] == [errno.EPERM, errno.EPERM, errno.EPERM, 0], tried
            assert [tried[name] for name in ("signal_own", "limit_own", "signal", "limit", "priority")] == [0, 0] + 3 * [errno.EPERM], tried
        if not (tried["landlock"] and tried["seccomp"]):
            skip("only a part could be tried: the system has no Landlock, or no seccomp, or this is a build with a sanitizer")


def test_sandbox_holds():
    with leat() as server:
        server.wait_until_ready()
        log = server.log()
        if "without" in log:
            skip("the system has no Landlock, or no seccomp, or this is a build with a sanitizer")
        assert "sandbox: Landlock" in log
        for task in os.listdir("/proc/%d/task" % server.process.pid):
            with open("/proc/%d/task/%s/status" % (server.process.pid, task)) as file:
                text = file.read()
            assert re.search(r"^Seccomp:\s*2$", text, re.M) and re.search(r"^NoNewPrivs:\s*1$", text, re.M), "thread %s is free" % task


def test_memory_is_nobodys_business():
    """No core file, and no process of the same user may attach: the private files in /proc are root's then."""
    def become_nobody():
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    is_root = os.geteuid() == 0
    if is_root and subprocess.run([client.LEAT, "info", MODEL], cwd=client.ROOT, capture_output=True, preexec_fn=become_nobody).returncode != 0:
        skip("nobody cannot read the model")
    with leat("--profile", "off", "--lease", "off", preexec_fn=become_nobody if is_root else None) as server:
        server.wait_until_ready()
        folder = "/proc/%d/" % server.process.pid
        with open(folder + "limits") as file:
            assert re.search(r"^Max core file size +0 +0 ", file.read(), re.M)
        assert os.stat(folder + "environ").st_uid == 0, "it can be attached to"
        assert server.get("/metrics").body.count(b"\nprocess_open_fds ") == 1, "its own files were opened before"


def test_sandbox_guards_files():
    """A key file that comes to lie elsewhere cannot be read any more."""
    for mode, is_read in (("off", True), ("auto", False)):
        with tempfile.TemporaryDirectory() as inside, tempfile.TemporaryDirectory() as outside:
            for folder, key in ((inside, "first"), (outside, "second")):
                with open(folder + "/keys", "w") as file:
                    file.write(key + "\n")
                os.chmod(folder + "/keys", 0o600)
            with leat("--api-key-file", inside + "/keys", "--sandbox", mode) as server:
                if mode == "auto" and "no Landlock" in server.log():
                    skip("the system has no Landlock")
                os.unlink(inside + "/keys")
                os.symlink(outside + "/keys", inside + "/keys")
                server.process.send_signal(signal.SIGHUP)
                mark = "read again" if is_read else "Permission denied"
                until(lambda: mark in server.log(), mark)
                assert (server.get("/version", "x-api-key: second\r\n").status == 200) == is_read


def test_sandbox_opens_a_key_file_and_not_its_folder():
    with tempfile.TemporaryDirectory() as folder:
        for name, key in (("keys", "first"), ("other", "second")):
            with open(folder + "/" + name, "w") as file:
                file.write(key + "\n")
            os.chmod(folder + "/" + name, 0o600)
        with leat("--api-key-file", folder + "/keys") as server:
            if "no Landlock" in server.log():
                skip("the system has no Landlock")
            os.rename(folder + "/other", folder + "/keys")
            server.process.send_signal(signal.SIGHUP)
            until(lambda: "rewritten in place" in server.log(), "the reason")
            assert [server.get("/version", "x-api-key: %s\r\n" % key).status for key in ("first", "second")] == [200, 401]


def test_strict_sandbox_serves():
    with leat("--sandbox", "strict", ready=False) as server:
        until(lambda: server.process.poll() is not None or server.find_address(), "listening or refused")
        if server.process.poll() is not None:
            server.may_fail = True
            assert server.process.returncode == 6 and "not to be had" in server.log(), server.log()
            skip("the system has no Landlock, or no seccomp, or this is a build with a sanitizer")
        server.wait_until_listening().wait_until_ready()
        assert server.get("/version").status == 200


# ---- instead of serving ----


def test_print_config():
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/settings", "w") as file:
            file.write("[serve]\ndrain = 7m\nport = 9\n")
        code, out, err = run("--print-config", "--config", folder + "/settings", "--port", "1234", "--api-key", "hidden",
                             env={"LEAT_MAX_BODY": "2MiB"})
    lines = out.splitlines()
    assert code == 0 and err == "", err
    for line in ("port = 1234  # the command line", "drain = 420s  # %s/settings" % folder, "max-body = 2MiB  # the environment",
                 "sandbox = auto  # the default", "host = 127.0.0.1  # the default"):
        assert line in lines, (line, out)
    assert run("--print-config", "--drain", "90", "--request-timeout", "2h")[1].count("= 90s") == 1
    for wrong in ("5x", "s", "1m30", "-1", "25h"):
        assert run("--drain", wrong)[0] == 2, wrong
    assert "hidden" not in out and any(line.startswith("api-key = (1, not shown)") for line in lines)


def test_print_client_config():
    for name in ("openai", "curl", "opencode"):
        code, out, err = run("--print-client-config", name, "--port", "4321", "--host", "::1")
        assert code == 0 and "http://[::1]:4321" in out and "brook" in out, (name, out, err)
        assert "@URL" not in out and "@MODEL" not in out and "@KEY" not in out
        if name == "opencode":
            assert json.loads(out)["provider"]["leat"]["options"]["baseURL"] == "http://[::1]:4321/v1"
        if name == "openai":
            compile(out, "client", "exec")
        assert '"first"' in run("--print-client-config", name, "--alias", "first", "--alias", "second")[1].replace("leat/first", "first")
    assert "YOUR-KEY" in run("--print-client-config", "curl", "--api-key", "hidden")[1]
    for bad in (["other"], ["curl", "--host", "unix:/tmp/none"], ["curl", "--port", "0"]):
        assert run("--print-client-config", *bad)[0] == 2, bad
    # The name of a model that is not a path is the one that requests have to give.
    hub = client.Server([client.LEAT, "serve", "some/model", "--print-client-config", "opencode"], ready=False)
    assert hub.wait() == 0 and json.loads(hub.out())["model"] == "leat/some/model"
    hub.home.cleanup()


def test_client_configs_tell_what_is_not_served():
    """A client whose endpoint is not there gets no configuration, and the endpoint is really not there."""
    with client.leat() as server:
        server.wait_until_ready()
        for name, path in (("openai", "/v1/chat/completions"), ("codex", "/v1/responses"), ("claude", "/v1/messages")):
            code, out, err = run("--print-client-config", name)
            is_there = server.ask("POST", path, body="{}").status != 501
            assert is_there == (code == 0) == bool(out), (name, err)
            assert is_there or path in err


def test_curl_config_works():
    """What is printed for curl is run as it is."""
    if not shutil.which("curl"):
        skip("curl is not installed")
    with client.leat("--alias", "some name") as server:
        server.wait_until_ready()
        command = run("--print-client-config", "curl", "--port", str(server.address[1]), "--alias", "some name")[1]
        done = subprocess.run(["bash", "-c", command.replace('"stream"', '"max_tokens": 4, "stream"')], capture_output=True, text=True,
                              timeout=client.PATIENCE)
        assert done.returncode == 0 and done.stdout.rstrip().endswith("data: [DONE]"), done


def test_only_serving_loads_the_http_library():
    """It brings GnuTLS with it, which all other verbs would pay for."""
    names = "libmicrohttpd", "libgnutls"
    with leat() as server:
        maps = of_process(server, "maps")
        assert maps == b"" or b"libmicrohttpd" in maps
    done = subprocess.run([client.LEAT, "version"], env={"LD_TRACE_LOADED_OBJECTS": "1"}, capture_output=True, text=True, timeout=client.PATIENCE)
    assert done.returncode == 0 and "libc.so" in done.stdout, done
    assert not any(name in done.stdout for name in names), done.stdout


def test_without_the_http_library():
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/libmicrohttpd.so.12", "w") as file:
            file.write("no library")
        code, _, err = run("--port", "0", env={"LD_LIBRARY_PATH": folder})
        assert code == 1 and "needs libmicrohttpd" in err and "libmicrohttpd12" in err, (code, err)
        done = subprocess.run([client.LEAT, "version"], env={"LD_LIBRARY_PATH": folder}, capture_output=True, timeout=client.PATIENCE)
        assert done.returncode == 0, done


def test_bad_options():
    assert run("--cors-origin", "*")[0] == 2
    assert run("--api-key", "has space")[0] == 2
    assert run("--sandbox", "maybe")[0] == 2


def test_bad_model():
    with tempfile.TemporaryDirectory() as folder:
        server = client.Server([client.LEAT, "serve", folder, "--port", "0"], ready=False)
        assert server.wait() == 3, server.log()
        server.home.cleanup()


# ---- much at once ----


def test_warm_start():
    """--warm-start on reads experts before anybody asks for something; without it only the rest of the model is read."""
    with tempfile.TemporaryDirectory(prefix="leat-cache-") as folder:
        env = {"XDG_CACHE_HOME": folder, "HOME": folder, "PATH": "/usr/bin:/bin"}
        subprocess.run([client.LEAT, "run", MODEL, "Tell me a story.", "-n", "40", "--ignore-eos", "--ram", "60M", "--ctx", "256"], cwd=client.ROOT,
                       env=env, check=True, capture_output=True)
        experts = int(json.loads(subprocess.run([client.LEAT, "info", MODEL, "--json"], cwd=client.ROOT, env=env, check=True,
                                                capture_output=True).stdout)["expert_bytes"])
        trunk = os.path.getsize(os.path.join(client.ROOT, MODEL, "model.safetensors")) - experts
        with leat("--ram", "60M", "--warm-start", "on", env={"XDG_CACHE_HOME": folder}).wait_until_ready() as server:
            until(lambda: metric(server, "leat_storage_read_bytes_total") > trunk + experts // 4, "experts are read")
            assert metric(server, "leat_generated_tokens_total") == 0
            assert server.ask("POST", "/v1/chat/completions", body=chat_body(max_tokens=4)).status == 200
        code, _, log = run("--route-trace", folder + "/trace")
        assert code == 2 and "--route-trace" in log, log  # the sandbox would let nobody write it


# ---- what the world does ----

class World:
    """A server whose reads and calendar are the test's (world_shim.c)."""

    def __init__(self, *arguments):
        with open(client.LEAT, "rb") as file:
            if re.search(rb"__[at]san_init", file.read()):
                skip("a sanitizer's build takes no other library before its own")
        self.folder = tempfile.TemporaryDirectory(prefix="leat-world-")
        shim = os.path.join(os.path.dirname(client.LEAT), "../../tests/server/world_shim.so")
        self.server = leat(*client.little_memory("--io-engine", "threads"), "--sandbox", "off", *arguments,
                           env={"LD_PRELOAD": shim, "LEAT_SHIM": self.folder.name}).wait_until_ready()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def hold_reads(self):
        open(self.path("hold"), "w").close()

    def let_go(self):
        os.unlink(self.path("hold"))

    def fail_reads(self):
        open(self.path("fail"), "w").close()

    def mend_reads(self):
        os.unlink(self.path("fail"))

    def shift_clock(self, seconds):
        with open(self.path("clock.new"), "w") as file:
            file.write(str(seconds))
        os.rename(self.path("clock.new"), self.path("clock"))

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        if os.path.exists(self.path("hold")):
            self.let_go()
        self.server.__exit__(*failure)
        self.folder.cleanup()


def take_comments(stream, count):
    """What a stream says until it has said so many comments."""
    assert stream.take_head()[0] == 200
    said = b""
    while said.count(b"\n:") < count:
        size = stream.take_until(b"\r\n")
        said += stream.take(int(size, 16) + 2)[:-2]
    return said


def test_a_disk_that_fails():
    """The stream says so, /health does, and both are well again once the disk is, without a request."""
    with World() as world:
        server = world.server

        def answer():
            reply = server.ask("POST", "/v1/chat/completions", body=chat_body(cache_prompt=False))
            return reply, reply.json()
        whole = answer()[1]["choices"]
        world.fail_reads()
        stream = server.ask("POST", "/v1/chat/completions", body=chat_body(cache_prompt=False, stream=True)).body.decode()
        error = json.loads([line[6:] for line in stream.split("\n") if line.startswith("data: ")][-1])["error"]
        assert error["code"] == "io_error" and "[DONE]" not in stream, stream
        health = server.get("/health")
        assert health.status == 503 and health.json()["status"] == "degraded" and health.headers["retry-after"] == "5", health
        reply, body = answer()
        assert reply.status == 503 and body["error"]["code"] == "io_error", body
        assert reply.headers["retry-after"] == "5" and "x-should-retry" not in reply.headers, reply
        world.mend_reads()
        until(lambda: server.get("/health").status == 200, "a server that is well again without a request")
        assert answer()[1]["choices"] == whole
        assert metric(server, "leat_storage_errors_total") > 0


def test_a_disk_that_does_not_answer():
    """Streams say that they live, everything that only looks is answered, and the answer is the same in the end."""
    with World() as world:
        server = world.server
        plain = server.ask("POST", "/v1/chat/completions", body=chat_body(cache_prompt=False)).json()["choices"][0]["message"]["content"]
        world.hold_reads()
        waiting = server.connect().request("POST", "/v1/chat/completions", body=chat_body(cache_prompt=False, stream=True, sse_ping_interval=1))
        begun = take_comments(waiting, 2)
        behind = server.connect().request("POST", "/v1/chat/completions", body=chat_body(stream=True, sse_ping_interval=1))
        assert b": queued 1\n" in take_comments(behind, 1)
        for path in ("/health", "/livez", "/v1/models", "/props", "/metrics"):
            assert server.get(path).status == 200, path
        slot, = server.get("/slots").json()
        assert slot["is_processing"] and slot["progress"]["phase"] == "prefill" and slot["queued"] == 1, slot
        assert metric(server, "leat_queue_length") == 1
        assert server.ask("POST", "/tokenize", body='{"content": "fox"}').json()["tokens"]
        behind.close()
        until(lambda: metric(server, "leat_queue_length") == 0, "who left the queue is forgotten")
        world.let_go()
        body, is_whole = waiting.take_chunks()
        text = "".join(json.loads(line[6:])["choices"][0]["delta"].get("content") or "" for line in (begun + body).decode().split("\n")
                       if line.startswith("data: {"))
        assert is_whole and body.endswith(b"data: [DONE]\n\n") and text == plain, body


def test_a_calendar_that_jumps():
    """Only times of day follow it: nothing is late because of it, and nothing takes an hour."""
    with World("--request-timeout", "10m") as world:
        server = world.server
        kept = server.connect()
        assert kept.request("GET", "/health").reply().status == 200
        world.hold_reads()
        first = server.connect().request("POST", "/v1/chat/completions", body=chat_body(cache_prompt=False))
        second = server.connect().request("POST", "/v1/chat/completions", body=chat_body(cache_prompt=False))
        until(lambda: metric(server, "leat_queue_length") == 1, "one runs, one waits")
        for seconds in (3600, -3600, 7200):
            world.shift_clock(seconds)
            assert kept.request("GET", "/health").reply().status == 200
            assert metric(server, "leat_queue_length") == 1
        world.let_go()
        for reply in (first.reply().json(), second.reply().json()):
            assert reply["choices"][0]["finish_reason"] == "stop"
            for name in ("queue_ms", "ttft_ms", "read_ms", "wait_ms"):
                assert 0 <= reply["leat"][name] < 600000, reply
        third = server.ask("POST", "/v1/chat/completions", body=chat_body()).json()
        assert third["created"] > time.time() + 7000, "the calendar has not jumped"
        assert metric(server, "leat_request_duration_seconds_sum") < 600
        totals = [float(total) for total in re.findall(r" total=([-\d.]+) ", server.log())]
        assert totals and all(0 <= total < 600 for total in totals), totals


def test_soak():
    """The short form of soak.py: more of it with hands."""
    soak.run(600, growth=0.1)

"""HTTP itself, against the server without a model: malformed requests, limits, deadlines, streams, clients that go."""
import json
import resource
import select
import signal
import socket
import time

import client
from client import JSON, Client, Server, probe, until

HOST = "Host: localhost\r\n"

# name: (what is sent, status; 0: the connection ends without a reply, code or None where libmicrohttpd answers itself)
MALFORMED = {
    "two lengths of the body": ("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_framing"),
    "Content-Length twice": ("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400, "duplicate_header"),
    "Content-Length twice, different": ("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, "duplicate_header"),
    "a list of lengths": ("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Content-Length: 2, 2\r\n\r\n{}", 400, None),
    "negative length": ("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Content-Length: -1\r\n\r\n{}", 400, None),
    "signed length": ("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Content-Length: +2\r\n\r\n{}", 400, None),
    "length over 2^64": ("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Content-Length: 99999999999999999999999\r\n\r\n{}", 413, None),
    "unknown transfer coding": ("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "bad_framing"),
    "obscured transfer coding": ("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, "bad_framing"),
    "chunked in HTTP/1.0": ("POST /echo HTTP/1.0\r\n" + HOST + JSON + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_framing"),
    "negative chunk": ("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n", 400, None),
    "chunk over 2^64": ("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n", 413, None),
    "only line feeds": ("GET /counts HTTP/1.1\nHost: localhost\n\n", 400, "bad_header"),
    "a line feed between fields": ("GET /counts HTTP/1.1\r\nHost: localhost\nA: b\r\n\r\n", 400, "bad_header"),
    "a carriage return between fields": ("GET /counts HTTP/1.1\r\nHost: localhost\rA: b\r\n\r\n", 400, "bad_header"),
    "a continued field": ("GET /counts HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n", 400, "bad_header"),
    "a zero byte in a field": ("GET /counts HTTP/1.1\r\nHost: localhost\r\nA: b\0c\r\nB: d\r\n\r\n", 400, "bad_header"),
    "a zero byte in the last field": ("GET /counts HTTP/1.1\r\nHost: localhost\r\nA: b\0c\r\n\r\n", 400, "bad_header"),
    "a control byte in a field": ("GET /counts HTTP/1.1\r\nHost: localhost\r\nA: b\x1bc\r\n\r\n", 400, "bad_header"),
    "a space in a name": ("GET /counts HTTP/1.1\r\nHost: localhost\r\nA b: c\r\n\r\n", 400, "bad_header"),
    "a space before the colon": ("GET /counts HTTP/1.1\r\nHost : localhost\r\n\r\n", 400, "bad_header"),
    "a field that begins with a space": ("GET /counts HTTP/1.1\r\n Host: localhost\r\n\r\n", 400, "bad_header"),
    "no colon": ("GET /counts HTTP/1.1\r\nHost: localhost\r\nabc\r\n\r\n", 400, None),
    "a zero byte in the path": ("GET /cou\0nts HTTP/1.1\r\n" + HOST + "\r\n", 400, "bad_request_line"),
    "an encoded zero byte": ("GET /counts%00 HTTP/1.1\r\n" + HOST + "\r\n", 400, "bad_request_line"),
    "bytes beyond ASCII in the path": ("GET /\xe4 HTTP/1.1\r\n" + HOST + "\r\n", 400, "bad_request_line"),
    "an absolute path": ("GET http://localhost/counts HTTP/1.1\r\n" + HOST + "\r\n", 400, "bad_request_line"),
    "an asterisk": ("OPTIONS * HTTP/1.1\r\n" + HOST + "\r\n", 400, "bad_request_line"),
    "no path": ("GET counts HTTP/1.1\r\n" + HOST + "\r\n", 400, "bad_request_line"),
    "two spaces": ("GET  /counts HTTP/1.1\r\n" + HOST + "\r\n", 400, "bad_request_line"),
    "a strange method": ("G\x01T /counts HTTP/1.1\r\n" + HOST + "\r\n", 400, "bad_request_line"),
    "HTTP/0.9": ("GET /counts\r\n\r\n", 400, None),
    "HTTP/2.0": ("GET /counts HTTP/2.0\r\n" + HOST + "\r\n", 505, None),
    "the preface of HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, None),
    "no host": ("GET /counts HTTP/1.1\r\n\r\n", 400, "no_host"),
    "two hosts": ("GET /counts HTTP/1.1\r\n" + HOST + HOST + "\r\n", 400, "duplicate_header"),
    "TLS": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\r\n\r\n", 0, None),
    "an unknown expectation": ("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Content-Length: 2\r\nExpect: tea\r\n\r\n{}", 417, "bad_expectation"),
    "a long request line": ("GET /" + "a" * 9000 + " HTTP/1.1\r\n" + HOST + "\r\n", 414, "uri_too_long"),
    "a request line of 1 MB": ("GET /" + "a" * 1000000 + " HTTP/1.1\r\n" + HOST + "\r\n", 414, None),
    "a large header": ("GET /counts HTTP/1.1\r\n" + HOST + "A: " + "a" * 40000 + "\r\n\r\n", 431, "headers_too_large"),
    "a header of 1 MB": ("GET /counts HTTP/1.1\r\n" + HOST + "A: " + "a" * 1000000 + "\r\n\r\n", 431, None),
    "many headers": ("GET /counts HTTP/1.1\r\n" + HOST + "A: b\r\n" * 100 + "\r\n", 431, "headers_too_large"),
}


def test_malformed():
    with probe() as server:
        for name, (sent, status, code) in MALFORMED.items():
            client = server.connect()
            try:
                client.send(sent)
            except ConnectionError:
                pass  # refused before all of it was sent
            reply = client.reply()
            if status == 0:
                assert reply is None, "%s: %r" % (name, reply)
                continue
            assert reply and reply.status == status, "%s: %r" % (name, reply)
            assert reply.headers["connection"].lower() == "close", name
            assert code is None or reply.code() == code, "%s: %r" % (name, reply)
            assert client.is_ended(), name
            client.close()
        assert server.get("/counts").status == 200


def test_well_formed():
    with probe() as server:
        client = server.connect()
        reply = client.request("POST", "/echo", body='{"a":1}').reply()
        assert (reply.status, reply.body) == (200, b'{"a":1}'), reply
        assert reply.headers["x-request-id"].startswith("req_")
        assert reply.headers["content-type"] == "application/json"
        # The same connection: chunks, white space behind values, encoded paths, pipelined requests.
        client.send("POST /ec%68o HTTP/1.1\r\nHost: localhost \t\r\n" + JSON + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
        assert client.reply().body == b"abcde"
        client.request("GET", "/counts").request("GET", "/counts")
        assert [client.reply().status, client.reply().status] == [200, 200]
        reply = client.request("POST", "/echo/a%2Fb/c", body="").reply()
        assert reply.headers["x-rest"] == "a/b/c"
        client.send("GET /counts HTTP/1.0\r\n\r\n")
        assert client.reply().status == 200 and client.is_ended()
        head = server.ask("HEAD", "/counts")
        assert head.status == 200 and head.body == b""
        # 100-continue
        client = server.connect().send("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert client.take_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue"
        assert client.send("{}").reply().body == b"{}"


def test_request_ids_differ():
    with probe() as server:
        assert len({server.get("/counts").headers["x-request-id"] for _ in range(20)}) == 20


def test_routes():
    with probe() as server:
        client = server.connect()
        for method, path, status, code in (("GET", "/nothing", 404, "not_found"), ("GET", "/echo/", 405, None), ("DELETE", "/counts", 405, "method_not_allowed"),
                                           ("GET", "/echo", 405, "method_not_allowed"), ("GET", "/../../etc/passwd", 404, "not_found"),
                                           ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404, "not_found"), ("GET", "//counts", 404, "not_found")):
            reply = client.request(method, path).reply()  # refusals without a body keep the connection
            if path == "/echo/":
                assert reply.status == 404  # the rest of a path may not be empty
                continue
            assert (reply.status, reply.code()) == (status, code), (path, reply)
            if status == 405:
                assert reply.headers["allow"] == ("GET" if path == "/counts" else "POST")


def test_bodies():
    def post(headers, body=b"{}", path="/echo"):
        client = server.connect()
        try:
            client.send("POST %s HTTP/1.1\r\n%s%s\r\n" % (path, HOST, headers)).send(body)
        except ConnectionError:
            pass
        reply = client.reply()
        client.close()
        return reply.status, reply.code()

    with probe() as server:
        assert post("Content-Length: 2\r\n") == (415, "content_type_not_supported")
        assert post("Content-Length: 2\r\nContent-Type: text/plain\r\n") == (415, "content_type_not_supported")
        assert post("Content-Length: 2\r\nContent-Type: application/jsonx\r\n") == (415, "content_type_not_supported")
        assert post(JSON + "Content-Length: 2\r\nContent-Encoding: gzip\r\n") == (415, "encoding_not_supported")
        assert post(JSON) == (411, "length_required")
        assert post(JSON + "Content-Length: 1048577\r\n", b"") == (413, "body_too_large")
        assert post(JSON + "Content-Length: 1048577\r\n", b"x" * 1048577) == (413, "body_too_large")
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        assert post(JSON + "Transfer-Encoding: chunked\r\n", piece * 17) == (413, "body_too_large")
        assert server.ask("GET", "/counts", body="{}").code() == "body_not_allowed"
        assert server.ask("POST", "/echo", "Content-Type: APPLICATION/json ; charset=utf-8\r\n", body="{}").status == 200
        most = b"y" * 1048576
        assert server.ask("POST", "/echo", body=most).body == most


def test_all_bodies_together_are_bounded():
    with probe() as server:
        clients = []
        for _ in range(6):  # each declares and sends nearly 1 MiB and stays; four times 1 MiB may wait
            client = server.connect().send("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Content-Length: 1048576\r\n\r\n")
            try:
                client.send(b"x" * 1000000)
            except ConnectionError:
                pass
            clients.append(client)
        end = clients[-1]
        reply = end.reply()
        assert reply.status == 503 and reply.code() == "out_of_memory" and "retry-after" in reply.headers, reply
        for client in clients:
            client.close()
        until(lambda: server.ask("POST", "/echo", body=b"x" * 1000000).status == 200, "room again")


def test_large_bodies_leave_a_handler_to_small_ones():
    with probe() as server:
        large = [server.connect().request("POST", "/sleep?ms=2000", body=b"x" * 900000) for _ in range(2)]
        until(lambda: server.ask("POST", "/echo", body="{}").status == 200, "a small one is handled")
        assert not any(has_reply(client) for client in large), "the small one has waited for a large one"
        for client in large:
            assert len(client.reply().body) == 900000
            client.close()


def has_reply(client):
    return bool(select.select([client.socket], [], [], 0)[0])


# ---- hosts, origins, keys ----


def test_hosts():
    with probe() as server:
        for host, status in (("localhost", 200), ("localhost:8080", 200), ("LOCALHOST.", 200), ("127.0.0.1:1", 200), ("[::1]:8080", 200),
                             (socket.gethostname(), 200), ("other.example", 200), ("OTHER.example:99", 200), ("evil.example", 403),
                             ("localhost.evil.example", 403), ("127.0.0.1.evil.example", 403), ("", 403), ("localhost:x", 403), ("127.0.0.2", 403)):
            reply = server.get("/counts", host=host)
            assert reply.status == status, (host, reply)
            if status == 403:
                assert reply.code() == "host_not_allowed"


def test_origins():
    allowed, foreign = "https://page.example", "https://evil.example"
    with probe() as server:
        for origin, status, is_echoed in ((allowed, 200, True), (foreign, 403, False), ("null", 403, False), (allowed + ".evil", 403, False),
                                          (allowed.upper(), 403, False), ("http://localhost", 200, False), ("http://localhost:1", 403, False)):
            reply = server.ask("POST", "/echo", "Origin: %s\r\n" % origin, body="{}")
            assert reply.status == status, (origin, reply)
            assert ("access-control-allow-origin" in reply.headers) == is_echoed, (origin, reply)
        reply = server.get("/counts", "Origin: %s\r\n" % allowed)
        assert reply.headers["access-control-allow-origin"] == allowed and reply.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in reply.headers
        assert "access-control-allow-origin" not in server.get("/counts", "Origin: %s\r\n" % foreign).headers
        wants = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, x-stainless-os\r\n"
        reply = server.ask("OPTIONS", "/echo", "Origin: %s\r\n%s" % (allowed, wants))
        assert reply.status == 204 and "x-stainless-os" in reply.headers["access-control-allow-headers"], reply
        assert server.ask("OPTIONS", "/echo", "Origin: %s\r\n%s" % (foreign, wants)).status == 403
        assert server.ask("OPTIONS", "/echo").status == 405


def test_keys():
    with probe("", "s3cret") as server:
        for headers, status in (("", 401), ("Authorization: Bearer s3cret\r\n", 200), ("authorization: bearer s3cret\r\n", 200), ("x-api-key: s3cret\r\n", 200),
                                ("Authorization: Bearer s3cre\r\n", 401), ("Authorization: Bearer s3crett\r\n", 401), ("Authorization: s3cret\r\n", 401),
                                ("Authorization: Basic s3cret\r\n", 401), ("Authorization: Bearer \r\n", 401), ("x-api-key: \r\n", 401)):
            reply = server.get("/counts", headers)
            assert reply.status == status, (headers, reply)
            if status == 401:
                assert reply.headers["www-authenticate"] == "Bearer" and reply.code() == "invalid_api_key"
        # Every path but the open ones, also those that do not exist, whatever the method.
        for method, path in (("GET", "/nothing"), ("DELETE", "/counts"), ("POST", "/echo"), ("HEAD", "/counts"), ("OPTIONS", "/echo")):
            assert server.ask(method, path, body="{}" if method == "POST" else None).status == 401, path
        assert server.get("/health").status == 200 and server.ask("POST", "/health", body="{}").status == 401
        assert "s3cret" not in server.log()
        with open("/proc/%d/cmdline" % server.process.pid, "rb") as file:
            assert b"s3cret" not in file.read()


# ---- deadlines ----


def test_slow_heads_are_cut():
    with probe("header_ms=600,idle_ms=600") as server:
        silent, dripping = server.connect(), server.connect().send("GET /counts HTTP/1.1\r\n")
        used = server.connect()
        assert used.request("GET", "/counts").reply().status == 200
        begin = time.monotonic()
        try:
            while time.monotonic() - begin < 30:
                dripping.send("a")
                dripping.socket.settimeout(0.1)
                try:
                    if not dripping.socket.recv(1):
                        break
                except TimeoutError:
                    pass
        except ConnectionError:
            pass
        assert time.monotonic() - begin < 25, "a header that drips lives on"
        assert silent.is_ended() and used.is_ended()


def test_slow_bodies_are_cut():
    with probe("body_ms=600") as server:
        client = server.connect().send("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Content-Length: 1000000\r\n\r\n")
        begin = time.monotonic()
        try:
            while time.monotonic() - begin < 30:
                client.send("a")
                time.sleep(0.05)
        except ConnectionError:
            pass
        assert time.monotonic() - begin < 25, "a body that drips lives on"


def test_answers_have_no_deadline():
    with probe("header_ms=300,body_ms=300,idle_ms=300") as server:
        reply = server.ask("POST", "/stream?count=8&pause_ms=250", body="{}")
        assert reply.is_whole and len(reply.body) == 8 * 16


# ---- connections ----


def test_idle_connections_make_room():
    with probe("connections=20") as server:
        idle = [server.connect() for _ in range(60)]
        for _ in range(20):
            assert server.get("/health").status == 200
        assert sum(1 for client in idle if is_open(client)) <= 20
        for client in idle:
            client.close()


def is_open(client):
    client.socket.settimeout(0.001)
    try:
        return bool(client.socket.recv(1))
    except TimeoutError:
        return True
    except ConnectionError:
        return False


def test_300_idle_connections():
    with probe() as server:
        idle = [server.connect() for _ in range(300)]
        for _ in range(10):
            assert server.get("/health").status == 200
        for client in idle:
            client.close()


def test_busy_connections_are_kept():
    with probe("connections=8") as server:
        held = [server.connect().request("POST", "/hold", body="{}") for _ in range(8)]
        until(lambda: json.loads(server.get("/health").body)["held"] == 8, "all are held")
        reply = server.get("/counts")
        assert reply.status == 503 and reply.code() == "too_many_connections" and "retry-after" in reply.headers
        assert server.get("/health").status == 200
        assert all(is_open(client) for client in held)
        for client in held:
            client.close()
        until(lambda: server.get("/counts").status == 200, "room again")


def test_requests_that_have_come_are_not_idle():
    """Connections and their requests come while the server sleeps: it accepts all of them before it reads any."""
    with probe("connections=8") as server:
        server.get("/health")
        server.process.send_signal(signal.SIGSTOP)
        held = [server.connect().request("POST", "/hold", body="{}") for _ in range(8)]
        last = server.connect().request("GET", "/health")
        server.process.send_signal(signal.SIGCONT)
        assert last.reply().status == 200
        until(lambda: json.loads(server.get("/health").body)["held"] == 8, "none was driven out")
        for client in held + [last]:
            client.close()


def test_few_descriptors():
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    with Server([client.PROBE], preexec_fn=limit) as server:
        idle = [server.connect() for _ in range(80)]
        time.sleep(0.5)
        for one in idle:
            one.close()
        until(lambda: server.get("/health").status == 200, "it goes on")


def test_connections_of_one_address():
    with probe("address_connections=5,loopback_counts=1") as server:
        idle = [server.connect() for _ in range(5)]
        assert all(is_open(client) for client in idle)
        until(lambda: not is_open(Client(server.address)), "the sixth is refused")
        idle.pop().close()
        until(lambda: is_open(Client(server.address)), "one has gone")
    with probe("address_connections=5") as server:
        idle = [server.connect() for _ in range(40)]
        assert all(is_open(client) for client in idle), "loopback is not counted"


# ---- clients that go ----


def test_hang_ups_are_noticed():
    ways = {"FIN": Client.close, "RST": Client.reset, "half-close": lambda client: client.socket.shutdown(socket.SHUT_WR)}
    with probe() as server:
        for number, (name, leave) in enumerate(ways.items(), 1):
            client = server.connect().request("POST", "/hold", body="{}")
            until(lambda: server.counts()["held"] == number, "held")
            assert server.counts()["closed"] == number - 1
            leave(client)
            until(lambda: server.counts()["closed"] == number, name + " is noticed")
        until(lambda: server.log().count(" 499 ") == 3, "three lines in the log")


def test_hang_up_of_a_stream():
    with probe() as server:
        client = server.connect().request("POST", "/stream?count=1&end=no", body="{}")
        assert client.take_head()[0] == 200
        client.close()
        until(lambda: server.counts()["closed"] == 1, "noticed while nothing is written")
        client = server.connect().request("POST", "/stream?count=100000&pause_ms=5", body="{}")
        assert client.take_head()[0] == 200
        client.reset()
        until(lambda: server.counts()["refused"] == 1, "writes are refused")


def test_hang_up_is_not_reported_after_a_reply():
    with probe() as server:
        assert server.ask("POST", "/stream?count=3", body="{}").is_whole
        assert server.counts()["closed"] == 0


def test_forgotten_requests_are_answered():
    with probe() as server:
        reply = server.ask("POST", "/drop", body="{}")
        assert reply.status == 500 and reply.code() == "internal" and reply.headers["x-should-retry"] == "false"


# ---- streams ----


def test_streams():
    with probe() as server:
        client = server.connect()
        reply = client.request("POST", "/stream?count=5&bytes=10", body="{}").reply()
        assert reply.is_whole and len(reply.body) == 50, reply
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reply.headers["cache-control"] == "no-store" and reply.headers["x-accel-buffering"] == "no"
        assert client.request("POST", "/stream?count=1", body="{}").reply().is_whole  # the connection is kept
        large = client.request("POST", "/stream?count=40&bytes=100000&pause_ms=1", body="{}").reply()
        assert large.is_whole and len(large.body) == 4000000


def test_silence_is_filled():
    with probe() as server:
        client = server.connect().request("POST", "/stream?count=1&idle_s=1&end=no", body="{}")
        assert client.take_head()[0] == 200
        assert client.take_until(b": waiting\n\n") is not None and client.take_until(b": waiting\n\n") is not None
        client.close()


def test_slow_readers_are_cut():
    with probe("stall_ms=500") as server:
        slow = server.connect()
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.request("POST", "/stream?count=1000&bytes=20000&pause_ms=1", body="{}")
        slow.take_head()  # and reads no more
        for _ in range(5):  # others go on
            assert server.ask("POST", "/stream?count=5&pause_ms=1", body="{}").is_whole
        until(lambda: server.counts()["refused"] == 1, "writes are refused")
        slow.close()


def test_streams_have_a_limit():
    with probe("stream_bytes=100000,stall_ms=60000") as server:
        slow = server.connect()
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.request("POST", "/stream?count=1000&bytes=50000&pause_ms=1", body="{}")
        slow.take_head()
        until(lambda: server.counts()["refused"] == 1, "writes are refused")
        reply, is_whole = slow.take_chunks()
        assert not is_whole, "a stream with a gap must not look whole"
        assert b'"code":"stream_too_slow"},"request_id":"req_' in reply[-80:], "and says why it ends"


# ---- the end ----


def test_end_finishes_requests():
    with probe(env={"PROBE_DRAIN_MS": "30000"}) as server:
        client = server.connect().request("POST", "/stream?count=20&pause_ms=50", body="{}")
        assert client.take_head()[0] == 200
        kept = server.connect()
        assert kept.request("GET", "/counts").reply().status == 200
        server.begin_stop()
        until(lambda: cannot_connect(server), "no new connections")
        try:
            reply = kept.request("GET", "/counts").reply()
        except OSError:  # an idle connection may have been closed by now
            reply = None
        assert reply is None or (reply.status == 503 and reply.code() == "shutting_down"), reply
        body, is_whole = client.take_chunks()
        assert is_whole and len(body) == 20 * 16


def cannot_connect(server):
    try:
        server.connect().close()
        return False
    except OSError:
        return True


def test_end_cuts_what_does_not_end():
    with probe() as server:
        stream = server.connect().request("POST", "/stream?count=1&bytes=0&end=no", body="{}")
        assert stream.take_head()[0] == 200
        held = server.connect().request("POST", "/hold", body="{}")
        half = server.connect().send("POST /echo HTTP/1.1\r\n" + HOST + JSON + "Content-Length: 10\r\n\r\n123")
        until(lambda: server.counts()["held"] == 1, "held")
        server.begin_stop()
        body, is_whole = stream.take_chunks()
        assert is_whole and json.loads(body.split(b"data: ")[1])["error"]["code"] == "shutting_down", body
        reply = held.reply()
        assert reply.status == 503 and reply.code() == "shutting_down", reply
        half.more()
        assert server.stop() == 0 and "closed: 2\n" in server.log(), "both owners hear of it: " + server.log()


# ---- the log ----


def test_log():
    with probe() as server:
        secret = "the-text-of-a-prompt"
        server.ask("POST", "/echo?key=" + secret, body='"%s"' % secret)
        server.get("/%1b%5d0;x%07%0d%0aleat: forged")
        server.get("/%1b%5d0;x%07%0d%0aforged")
        server.get("/x%20200%20in=1%20id=%c3%a4%25")
        server.get("/" + 1000 * "%20")
        server.ask("POST", "/stream?count=1", body="{}")
        log = until(lambda: " ttft=" in server.log() and server.log(), "the last line")
        assert secret not in log
        assert all(c >= " " or c == "\n" for c in log) and "\nforged" not in log, log
        assert "POST /echo 200 in=22 out=22 " in log, log
        assert "GET /x%20200%20in=1%20id=%C3%A4%25 404 in=0 " in log and "GET /%20%20" in log, log
        assert all(line.split(" ")[2].isdigit() for line in log.splitlines() if " /" in line), log
        assert "POST /stream 200 in=2 out=16 prompt=3 cached=0 tokens=5 ttft=0.001 slot=0 total=" in log, log
        assert "id=req_" in log

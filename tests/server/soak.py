"""Many requests of all kinds at once: is the server the same afterwards, and was every answer right?

    soak.py LEAT [--requests 10000] [--connections 64] [--seed 1]

First every good request is asked for once over a single connection: those are the right answers, logprobs included. Then
so many connections ask at once, in an order drawn from the seed: two thirds good requests, whole and as streams, the rest bad
ones (each with the status it must get) and ones that are given up in the ways clients have. It fails when an answer is
missing or another one than alone, when the process ends, or when memory, descriptors or threads have grown: they are
compared when all is quiet, after a fifth of the requests and at the end. Needs the Python standard library.
"""
import argparse
import asyncio
import collections
import json
import os
import random
import re
import socket
import struct
import time

import client

LIMITS = "stall_bytes=8192,stall_ms=2000"
TIMEOUT = 600  # a request that takes longer has been lost
CHAT, COMPLETE = "/v1/chat/completions", "/v1/completions"
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}


# ---- what is asked ----


def user(text, **fields):
    return CHAT, dict({"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 12}, **fields)


def text(prompt, **fields):
    return COMPLETE, dict({"prompt": prompt, "temperature": 0, "max_tokens": 10}, **fields)


def good_requests():
    asked = [user("What is %d+%d?" % (a, b)) for a in range(1, 5) for b in range(2, 5)]
    asked += [user("Tell me a story about a %s." % who) for who in ("fox", "girl", "dog", "bird")]
    asked += [user("Tell me a story about a cat.", temperature=0.9, seed=seed) for seed in (1, 2, 3)]
    asked += [user("Tell me a story about a boy.", temperature=1, seed=4, n=2, max_tokens=8)]
    asked += [user("What is the weather in Paris?", tools=[TOOL], max_tokens=40)]
    asked += [user("What is 2+2?", logprobs=True, top_logprobs=3), user("What is 3+3?", stop=["equals"])]
    asked += [text(prompt) for prompt in ("Once upon a time", "The fox", "The sun is", [1, 2, 3])]
    asked += [text(["One", "Two"], max_tokens=4), text("The dog", logprobs=2), text("A b", echo=True, logprobs=1, max_tokens=2)]
    asked += [text("Once upon a time", cache_prompt=False, max_tokens=3)]
    return asked


LONG = " ".join("word%d" % i for i in range(300))  # a prompt that takes a while
BAD = [  # path, body, headers, status, param
    (CHAT, "{", "", 400, None),
    (CHAT, "[]", "", 400, None),
    (CHAT, '{"messages": 3}', "", 400, "messages"),
    (CHAT, '{"messages": [{"role": "user"}]}', "", 400, "messages[0].content"),
    (CHAT, '{"messages": [{"role": "user", "content": "a"}], "temperature": "hot"}', "", 400, "temperature"),
    (CHAT, '{"messages": [{"role": "user", "content": "a"}], "max_tokens": -2}', "", 400, "max_tokens"),
    (CHAT, '{"messages": [{"role": "user", "content": "a"}], "model": "other"}', "", 404, "model"),
    (CHAT, json.dumps({"messages": [{"role": "user", "content": LONG * 4}]}), "", 400, "messages"),
    (CHAT, '{"a":' * 100 + "1" + "}" * 100, "", 400, None),
    (COMPLETE, '{"prompt": [1, 99999999]}', "", 400, "prompt[1]"),
    (COMPLETE, '{"prompt": "a", "temperature": 1e400}', "", 400, None),
    (CHAT, "a" * 100000, "", 400, None),
    (CHAT, "a" * 300000, "", 413, None),
    (CHAT, "{}", "Content-Type: text/plain\r\n", 415, None),
    ("/v1/embeddings", "{}", "", 501, None),
    ("/nothing", "{}", "", 404, None),
    (CHAT, "{}", "Transfer-Encoding: gzip\r\n", 400, None),
]


# ---- one connection ----


class Lost(Exception):
    """The server ended the connection where an answer was due."""


class Connection:
    def __init__(self, address):
        self.address, self.reader, self.writer = address, None, None

    async def open(self, receive_bytes=0):
        if self.writer and not self.reader.at_eof():
            return
        self.leave()
        sock = socket.socket()
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.address)
        # What is not asked for stays in the socket: the reader would take in 64 KiB for clients that never read.
        self.reader, self.writer = await asyncio.open_connection(sock=sock, limit=1 << 20)

    def leave(self, with_reset=False):
        if self.writer:
            if with_reset:
                self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort() if with_reset else self.writer.close()
        self.reader = self.writer = None

    async def send(self, path, body, headers="", length=None):
        body = body.encode() if isinstance(body, str) else body
        if "Content-Type" not in headers:
            headers += client.JSON
        head = "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%s\r\n" % (path, len(body) if length is None else length, headers)
        self.writer.write(head.encode() + body)
        try:
            await self.writer.drain()
        except ConnectionError:
            pass  # refused before all of it was sent: the reply is there

    async def head(self):
        try:
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as why:
            raise Lost("no reply") from why
        return int(lines[0].split()[1]), dict(line.lower().split(": ", 1) for line in lines[1:] if line)

    async def body(self, fields):
        try:
            if fields.get("transfer-encoding") != "chunked":
                return await self.reader.readexactly(int(fields["content-length"]))
            data = b""
            while True:
                size = int(await self.reader.readuntil(b"\r\n"), 16)
                data += (await self.reader.readexactly(size + 2))[:-2]
                if size == 0:
                    return data
        except (asyncio.IncompleteReadError, ConnectionError) as why:
            raise Lost("half a reply") from why

    async def ask(self, path, body, headers=""):
        await self.open()
        await self.send(path, body, headers)
        status, fields = await self.head()
        data = await self.body(fields)
        if fields.get("connection") == "close":
            self.leave()
        return status, fields, data


# ---- answers ----


def add_delta(choice, part):
    """What a stream says of a choice, put together as the whole reply has it."""
    delta = part.get("delta", part)
    for name in ("content", "reasoning_content", "text"):
        choice[name] = choice.get(name, "") + (delta.get(name) or "")
    for call in delta.get("tool_calls", []):
        calls = choice.setdefault("calls", {})
        name, arguments = calls.get(call["index"], ("", ""))
        calls[call["index"]] = (call["function"].get("name") or name, arguments + call["function"]["arguments"])
    logprobs = part.get("logprobs") or {}
    for name, values in logprobs.items():
        choice.setdefault("logprobs", {}).setdefault(name, []).extend(values or [])
    choice["finish_reason"] = part.get("finish_reason") or choice.get("finish_reason")


def read_stream(data):
    choices, is_ended = {}, False
    for event in data.decode().split("\n\n"):
        assert not is_ended or not event, "something comes behind the end"
        if event.startswith("data: ") and event != "data: [DONE]":
            chunk = json.loads(event[6:])
            assert "error" not in chunk, chunk
            for part in chunk["choices"]:
                add_delta(choices.setdefault(part["index"], {}), part)
        is_ended = is_ended or event == "data: [DONE]"
    assert is_ended, "a stream without its end"
    return choices


def read_whole(data):
    choices = {}
    for part in json.loads(data)["choices"]:
        part = dict(part, delta=part.pop("message")) if "message" in part else part
        for index, call in enumerate((part.get("delta") or {}).get("tool_calls") or []):
            call["index"] = index
        add_delta(choices.setdefault(part["index"], {}), part)
    return choices


# ---- what is done ----


class Soak:
    def __init__(self, server, connections, seed):
        self.server, self.connections, self.random = server, connections, random.Random(seed)
        self.asked = good_requests()
        self.right = []
        self.counts = collections.Counter()
        self.faults = []
        self.left = 0

    async def learn(self):
        """The right answers: one request after the other, each from an empty session."""
        one = Connection(self.server.address)
        for path, body in self.asked:
            status, _, data = await one.ask(path, json.dumps(dict(body, cache_prompt=False)))
            assert status == 200, (body, data)
            self.right.append(read_whole(data))
        one.leave()

    async def good(self, c, streams):
        number = self.random.randrange(len(self.asked))
        path, body = self.asked[number]
        while True:
            status, fields, data = await c.ask(path, json.dumps(dict(body, stream=streams)))
            if status != 429:
                break
            assert 1 <= int(fields["retry-after"]) <= 120 and json.loads(data)["error"]["code"] == "queue_full", (fields, data)
            self.counts["told to come again"] += 1
            await asyncio.sleep(0.05 + self.random.random() * 0.2)
        assert status == 200, (status, data)
        answer = read_stream(data) if streams else read_whole(data)
        assert answer == self.right[number], "asked %r\n  got   %r\n  alone %r" % (body, answer, self.right[number])

    async def bad(self, c):
        path, body, headers, status, param = self.random.choice(BAD)
        got, _, data = await c.ask(path, body, headers)
        assert got == status, (path, body[:80], got, data)
        if param:
            assert json.loads(data)["error"]["param"] == param, data

    async def look(self, c):
        await c.open()
        c.writer.write(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % self.random.choice([b"/health", b"/metrics", b"/slots", b"/v1/models", b"/props"]))
        status, fields = await c.head()
        await c.body(fields)
        assert status == 200, status

    async def leave_prompt(self, c):
        await c.open()
        path, body = user(LONG, max_tokens=5, stream=self.random.random() < 0.5, cache_prompt=False)
        await c.send(path, json.dumps(body))
        await asyncio.sleep(self.random.random() * 0.1)
        c.leave(self.random.random() < 0.5)

    async def leave_stream(self, c):
        await c.open()
        path, body = user("Tell me a story about a fox.", max_tokens=100, stream=True, ignore_eos=True)
        await c.send(path, json.dumps(body))
        status, _ = await c.head()
        if status == 200:
            await c.reader.read(100)
        c.leave(self.random.random() < 0.5)

    async def leave_body(self, c):
        await c.open()
        await c.send(CHAT, '{"messages": [', length=self.random.randrange(20, 200000))
        await asyncio.sleep(self.random.random() * 0.05)
        c.leave(self.random.random() < 0.5)

    async def leave_head(self, c):
        await c.open()
        c.writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: loc")
        await asyncio.sleep(self.random.random() * 0.05)
        c.leave(self.random.random() < 0.5)

    async def read_nothing(self, c):
        """A stream of half a megabyte of which nothing is taken: it is cut, and the engine goes on with others."""
        c.leave()
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.server.address)
        path, body = user("Tell me a story about a fox.", max_tokens=150, stream=True, ignore_eos=True, logprobs=True, top_logprobs=20)
        data = json.dumps(body).encode()
        await asyncio.get_running_loop().sock_sendall(sock, b"POST %s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s" %
                                                      (path.encode(), client.JSON.encode(), len(data), data))
        await asyncio.sleep(4)
        sock.close()

    def pick(self):
        kinds = ((36, "good", lambda c: self.good(c, False)), (30, "good as a stream", lambda c: self.good(c, True)), (15, "bad", self.bad),
                 (4, "looking", self.look), (5, "left during the prompt", self.leave_prompt), (4, "left during the stream", self.leave_stream),
                 (3, "half a body", self.leave_body), (2.7, "half a head", self.leave_head), (0.3, "reading nothing", self.read_nothing))
        return self.random.choices(kinds, [weight for weight, _, _ in kinds])[0]

    async def work(self):
        c = Connection(self.server.address)
        while self.left > 0 and not self.faults:
            self.left -= 1
            _, name, do = self.pick()
            try:
                await asyncio.wait_for(do(c), TIMEOUT)
                self.counts[name] += 1
            except Exception as fault:
                self.faults.append("%s: %s: %s" % (name, type(fault).__name__, fault))
            if self.random.random() < 0.1:
                c.leave(self.random.random() < 0.3)
        c.leave()

    async def go(self, requests):
        self.left = requests
        await asyncio.gather(*(self.work() for _ in range(self.connections)))
        assert not self.faults, "\n".join(self.faults[:3])
        assert self.server.process.poll() is None, "the server has ended"

    async def until_quiet(self):
        """No request, no connection but the one that asks."""
        end = time.monotonic() + client.PATIENCE
        while time.monotonic() < end:
            c = Connection(self.server.address)
            await c.open()
            c.writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            _, fields = await c.head()
            lines = (await c.body(fields)).decode()
            c.leave()
            values = {name: float(value) for name, value in re.findall(r"^(\w+)(?:\{[^}]*\})? ([0-9.e+-]+)$", lines, re.M)}
            if values["leat_requests_in_flight"] == 1 and values["leat_queue_length"] == 0 and "idle\"} 1\n" in lines and len(self.descriptors()) <= self.idle_descriptors + 1:
                await asyncio.sleep(0.5)
                return lines
            await asyncio.sleep(0.1)
        raise AssertionError("it does not come to rest: %d descriptors, %d before\n%s" % (len(self.descriptors()), self.idle_descriptors, lines))

    def descriptors(self):
        return os.listdir("/proc/%d/fd" % self.server.process.pid)

    def state(self):
        with open("/proc/%d/status" % self.server.process.pid) as file:
            found = dict(re.findall(r"^(VmRSS|VmHWM|Threads):\s+(\d+)", file.read(), re.M))
        return int(found["VmRSS"]), int(found["Threads"]), len(self.descriptors())

    idle_descriptors = 1 << 30


async def soak(server, requests, connections, seed):
    s = Soak(server, connections, seed)
    await s.learn()
    s.idle_descriptors = len(s.descriptors())
    begin = time.monotonic()
    await s.go(requests // 5)
    await s.until_quiet()
    first = s.state()
    await s.go(requests - requests // 5)
    metrics = await s.until_quiet()
    last = s.state()
    return s, first, last, time.monotonic() - begin, metrics


def run(requests, connections=64, seed=1, growth=0.02, quiet=True):
    with client.leat("--ctx", "512", "--max-body", "256KiB", "--max-queue", "48", limits=LIMITS) as server:
        server.wait_until_ready()
        is_sanitized = b"san.so" in open("/proc/%d/maps" % server.process.pid, "rb").read()
        s, first, last, seconds, metrics = asyncio.run(soak(server, requests, connections, seed))
        finished = dict(re.findall(r'^leat_request_finished_total\{model="brook",reason="(\w+)"\} (\d+)$', metrics, re.M))
        if not quiet:
            print("%d requests over %d connections in %.0f s" % (requests, connections, seconds))
            for name, count in s.counts.most_common():
                print("  %6d %s" % (count, name))
            print("  finished: " + ", ".join("%s %s" % item for item in finished.items()))
            for when, (rss, threads, descriptors) in ((requests // 5, first), (requests, last)):
                print("  after %d: %d KiB, %d threads, %d descriptors" % (when, rss, threads, descriptors))
        assert sum(s.counts.values()) - s.counts["told to come again"] == requests, s.counts
        assert int(finished["client_closed"]) > 0 and finished["error"] == "0", finished
        assert last[1] <= first[1] and last[2] <= first[2], "threads or descriptors: %s, then %s" % (first, last)
        assert is_sanitized or last[0] <= first[0] * (1 + growth), "memory in KiB: %d, then %d" % (first[0], last[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("leat")
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    client.LEAT = os.path.abspath(options.leat)
    run(options.requests, options.connections, options.seed, quiet=False)


if __name__ == "__main__":
    main()

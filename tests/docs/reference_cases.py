"""docs/server.md against the server: its tables of endpoints, fields, ranges, replies, metrics and errors are what is there.
Other pages' tables of what the source has.

Names are compared with the source both ways, so that neither a field nor a row can be forgotten; types and ranges, and
what replies hold, with a running server.
"""
import json
import os
import re

import client
from client import ROOT

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
HELLO = {"messages": [{"role": "user", "content": "What is 2+2?"}]}
WRONG = {"number": "x", "integer": "x", "boolean": 7, "string": 7, "object": 7, "array": 7, "string, array": 7, "string, object": 7}
RANGE = re.compile(r"(?:above )?(-?[\d.]+) to (-?[\d.]+)")
SCHEMA_WORDS = {"type", "text", "id", "function", "name", "arguments"}


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def page():
    return read("docs/server.md")


def section(title):
    found = re.search(r"^#+ %s\n(.*?)(?=^#|\Z)" % re.escape(title), page(), re.M | re.S)
    assert found, "no section " + title
    return found.group(1)


def rows(title, head):
    """The cells of a table's rows."""
    text = section(title).split("| " + head + " |", 1)[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def quoted(text):
    return re.findall(r"`([^`]+)`", text)


def fields(title):
    """(path, type, range)"""
    return [(path, row[1], row[2]) for row in rows(title, "field") for path in quoted(row[0])]


COMMON, OF_CHAT, OF_TEXT, OF_TOKENS = "Fields of both kinds of completions", "`POST %s`" % CHAT, "`POST %s`" % TEXT, "Texts and tokens"


def words(title, *more):
    """Every member that a table's paths go through."""
    return {part.replace("[]", "") for path, _, _ in fields(title) for part in path.split(".")} | set(more)


def asked_for(*files):
    """The members that the source asks of a request."""
    found = set()
    for name in files:
        source = read("apps/server/" + name)
        found |= set(re.findall(r'json_(?:field_\w+|view_member)\([^;"]*?, "(\w+)"', source))
        if name == "generation_request.c":
            found |= set(re.findall(r'"(\w+)"', re.search(r"names\[\] = \{(.*?)\}", source, re.S).group(1)))
    return found


def test_answer_formats():
    labels = set(re.findall(r'\.label = "([^"]+)"', read("src/text/answer/answer_format.c")))
    table = read("docs/answers.md").split("| label |")[1].split("\n\n")[0]
    told = {label for line in table.splitlines()[2:] for label in quoted(line.split("|")[1])}
    assert told == labels, told ^ labels
    assert "%d labels" % len(labels) in read("docs/architecture.md")


def test_server_endpoints():
    routes = re.findall(r'\{"(\w+)", "([^"]+)", (\w+),', read("apps/server/api_routes.c"))
    served, missing = set(), set()
    for method, path, handler in routes:
        (missing if handler == "route_unsupported" else served).add((method, path))
    told = set()
    for row in rows("The API", "path"):
        method, paths = row[0].strip("`").split(" ")[0], re.findall(r"/[\w./-]+", row[0])
        told |= {(method, path.replace("/ID", "/*")) for path in paths}
    assert told == served, told ^ served
    known = re.search(r"Known and not there.*?All else", page(), re.S).group(0)
    posts, gets = known.split("`GET ")
    told = {("POST", path) for path in re.findall(r"/[\w./*-]+", posts)} | {("GET", path) for path in re.findall(r"/[\w./*-]+", "`" + gets)}
    assert told == missing, told ^ missing


def test_server_fields():
    """The tables name what the source asks for, no more and no less."""
    for title, files, more in ((COMMON, ["generation_request.c"], set()), (OF_CHAT, ["chat_request.c", "chat_messages.c", "chat_tools.c"], SCHEMA_WORDS),
                               (OF_TEXT, ["completion_request.c"], set()), (OF_TOKENS, ["route_text.c"], {"prompt"})):  # asked for by a variable
        told, wanted = words(title, *more), asked_for(*files) | more
        assert told == wanted, (title, told ^ wanted)
    for name in SCHEMA_WORDS:
        assert name in section(OF_CHAT)
    refused = re.search(r"missed_fields\[\] = \{(.*?)\n\};", read("apps/server/generation_request.c"), re.S).group(1)
    told = re.search(r"Other servers' ways(.*?) are refused", page(), re.S).group(1)
    assert re.findall(r'\{"(\w+)"', refused) == quoted(told), told
    for name in re.search(r"as are (.*?)\. JSON", page(), re.S).group(1).split("`")[1::2]:
        assert name not in words(COMMON) | words(OF_CHAT) | words(OF_TEXT)


def refusal(server, path, body):
    reply = server.ask("POST", path, body=json.dumps(body))
    assert reply.status == 400, (body, reply)
    return reply.json()["error"]


def check_type(server, path, base, name, kind):
    value = WRONG[kind]
    if "." in name:
        outer, name = name.split(".")
        body, param = dict(base, **{outer: {name: value}}), outer + "." + name
        if outer == "stream_options":
            body["stream"] = True
    else:
        body, param = dict(base, **{name: value}), name
    error = refusal(server, path, body)
    assert (error["code"], error["param"]) == ("invalid_type", param), (body, error)


def check_range(server, path, base, name, limits):
    low, high = (float(number) for number in RANGE.fullmatch(limits).groups())
    step = 1 if low == int(low) and high == int(high) else 0.001
    bad = [low if limits.startswith("above") else low - step, high + step]
    more = {"logprobs": True} if name == "top_logprobs" else {}
    whole = lambda number: int(number) if number == int(number) else number
    for value in bad:
        error = refusal(server, path, dict(base, **more, **{name: whole(value)}))
        assert (error["code"], error["param"]) == ("out_of_range", name), (name, value, error)
    for value in ([] if limits.startswith("above") else [low]) + [high]:
        # Short answers: a stop string comes soon, also where the field asks for two thousand million tokens.
        body = {**base, "max_tokens": 1, "stop": ["e", " "], **more, name: whole(value)}
        assert server.ask("POST", path, body=json.dumps(body)).status == 200, body


def test_server_types_and_ranges():
    with client.leat() as server:
        server.wait_until_ready()
        checked = 0
        for title, path, base in ((COMMON, CHAT, HELLO), (COMMON, TEXT, {"prompt": "a"}), (OF_CHAT, CHAT, HELLO), (OF_TEXT, TEXT, {"prompt": "a"})):
            for name, kind, limits in fields(title):
                if "[]" in name or not kind or ";" in kind:
                    continue
                check_type(server, path, base, name, kind)
                if kind in ("number", "integer") and RANGE.fullmatch(limits):
                    check_range(server, path, base, name, limits)
                    checked += 1
        assert checked > 25, checked


def gather(value, name, found):
    """name of an object -> the members it was seen with."""
    if isinstance(value, dict):
        found.setdefault(name, set()).update(value)
        for key, inner in value.items():
            gather(inner, "content of logprobs" if name == "logprobs" and key == "content" else key, found)
    elif isinstance(value, list):
        for inner in value:
            gather(inner, name, found)


def events(reply):
    lines = [line for line in reply.body.decode().split("\n\n") if line.startswith("data: {")]
    return [json.loads(line[6:]) for line in lines]


TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}


def test_server_replies():
    """Every member of a reply is in the table, and every member in the table comes in some reply."""
    found, streamed = {}, {}
    weather = {"messages": [{"role": "user", "content": "What is the weather in Paris?"}], "tools": [TOOL], "tool_choice": "required"}
    thinking = dict(HELLO, chat_template_kwargs={"enable_thinking": True})
    with client.leat("--prefill-chunk", "8") as server:
        server.wait_until_ready()
        for body in (HELLO, weather, thinking):
            body = dict(body, temperature=0, logprobs=True, top_logprobs=1, max_tokens=60)
            gather(server.ask("POST", CHAT, body=json.dumps(body)).json(), "the whole", found)
            more = {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True, "cache_prompt": False}
            for event in events(server.ask("POST", CHAT, body=json.dumps(dict(body, **more)))):
                gather(event, "the whole", streamed)
        text = {}
        gather(server.ask("POST", TEXT, body=json.dumps({"prompt": "a", "logprobs": 1})).json(), "the whole", text)
    for row in rows(OF_CHAT, "in the reply"):
        name = row[0].replace("`", "")
        members = set(quoted(row[1].split(", of which")[0])) - ({"delta"} if name == "choices" else set())
        if name == "usage":
            members -= {"cached_tokens", "reasoning_tokens"}
        if name == "tool_calls":
            assert streamed[name] == members, (name, streamed[name] ^ members)
            members.discard("index")
        seen = streamed if name in ("delta", "prompt_progress") else found
        if name == "delta":
            members -= {"reasoning_content"} - streamed["delta"]  # only models that think say it
        if name == "message":
            members -= {"reasoning_content"} - found["message"]
        assert seen[name] == members, (name, seen[name] ^ members)
    assert found["top_logprobs"] == {"token", "bytes", "logprob"}
    assert found["prompt_tokens_details"] == {"cached_tokens"} and found["completion_tokens_details"] == {"reasoning_tokens"}
    assert streamed["choices"] == {"index", "delta", "logprobs", "finish_reason"}
    assert text["choices"] == {"index", "text", "logprobs", "finish_reason"} and text["logprobs"] <= set(quoted(section(OF_TEXT)))


def test_server_state():
    told = set(quoted(section("State")))
    with client.leat() as server:
        server.wait_until_ready()
        seen = {}
        for path in ("/v1/models", "/slots", "/props"):
            gather(server.get(path).json(), path, seen)
        inner = seen.pop("params") - {"max_tokens"}  # those of /props are llama.cpp's names of what a request sets
        for name, members in seen.items():
            assert members - {"data"} - inner <= told | {"object", "vision", "audio"}, (name, members - told)
        assert {"temperature", "top_k"} <= inner
        metrics = server.get("/metrics").body.decode()
    there = set(re.findall(r"^# TYPE (\w+) ", metrics, re.M))
    named = {name for row in rows("Metrics", "name") for name in re.findall(r"(?:leat|process)_\w+", row[0])}
    assert named - {"process_open_fds"} == there - {"process_open_fds"}, named ^ there


def test_server_errors():
    """Status, type and code of every error, as the source has them."""
    there = set(re.findall(r'X\(\w+, (\d+), "(\w+)", "(\w+)", \w+\)', read("apps/server/api_error.h")))
    for name in os.listdir(os.path.join(ROOT, "apps/server")):
        if not name.endswith(".c"):
            continue
        source = read("apps/server/" + name)
        there |= set(re.findall(r'http_fail\(x, (\d+), "(\w+)", "(\w+)"', source))
        there |= {(status, "invalid_request_error", code) for status, code in re.findall(r'refuse\(x, (\d+), "(\w+)"', source)}
        there |= {("403", "permission_error", code) for code in re.findall(r'refuse_source\(x, "(\w+)"', source)}
        if 'is_stopping ? "shutting_down"' in source:
            there.add(("503", "unavailable_error", "too_many_connections"))
    told = set()
    for row in rows("Errors", "status"):
        statuses, kind = row[0].split(", "), quoted(row[1])[0]
        groups = row[2].split(";") if len(statuses) > 1 else [row[2].replace("(with", "")] 
        assert len(statuses) == len(groups), row
        for status, group in zip(statuses, groups):
            told |= {(status, kind, code) for code in quoted(group) if re.fullmatch(r"[a-z_]+", code) and code not in ("n_prompt_tokens", "n_ctx")}
    assert told == there, told ^ there

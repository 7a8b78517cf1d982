"""The server as programs of others see it: openai, httpx with hypothesis, curl, slowhttptest, wrk.

    clients.py LEAT [PART_OF_A_NAME...]

Python packages go into a virtual environment in the cache folder ($XDG_CACHE_HOME/leat-test-clients), made at the first run
where the package index answers; programs are asked of apt-get where that may be done. What is not to be had is skipped,
loudly. Ends with "leat-test: N passed, N failed, N skipped".
"""
import asyncio
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import client
import case_runner
import client_packages
from client import leat, skip, until

PACKAGES = "openai", "httpx", "hypothesis"
SUM = [{"role": "user", "content": "What is 2+2?"}]
STORY = [{"role": "user", "content": "Tell me a story about a fox."}]
WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather in a city",
                                         "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
running = {}


def server():
    """One for all cases that need nothing special."""
    if "shared" not in running:
        running["shared"] = leat("--ctx", "512", "--max-queue", "100").wait_until_ready()
    return running["shared"]


def url(one=None):
    return "http://%s:%d" % (one or server()).address


# ---- openai ----


def openai_client(kind="OpenAI"):
    try:
        import openai
    except ImportError:
        skip("the package openai is not to be had")
    return getattr(openai, kind)(base_url=url() + "/v1", api_key="none", max_retries=0, timeout=client.PATIENCE)


def chat(c, messages=SUM, **fields):
    return c.chat.completions.create(model="brook", messages=messages, **dict({"temperature": 0}, **fields))


def test_openai():
    c = openai_client()
    assert [m.id for m in c.models.list()] == ["brook"] and c.models.retrieve("brook").id == "brook"
    whole = chat(c)
    assert whole.choices[0].message.content == "2 + 2 equals 4." and whole.choices[0].finish_reason == "stop", whole
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert whole.usage.prompt_tokens_details.cached_tokens >= 0 and whole._request_id.startswith("req_")
    chunks = list(chat(c, stream=True, stream_options={"include_usage": True}))
    assert "".join(x.choices[0].delta.content or "" for x in chunks if x.choices) == "2 + 2 equals 4."
    assert len({x.id for x in chunks}) == 1 and chunks[-1].usage.total_tokens == whole.usage.total_tokens
    with c.chat.completions.stream(model="brook", messages=SUM, temperature=0) as stream:
        assert stream.get_final_completion().choices[0].message.content == "2 + 2 equals 4."
    many = chat(c, STORY, n=3, seed=5, temperature=1, max_tokens=8)
    assert [x.index for x in many.choices] == [0, 1, 2] and len({x.message.content for x in many.choices}) > 1
    assert "fox" not in chat(c, STORY, stop="fox").choices[0].message.content
    text = c.completions.create(model="brook", prompt=["Once", "The"], max_tokens=3, temperature=0, logprobs=1, echo=True)
    assert [x.text[:4] for x in text.choices] == ["Once", "The "] and text.choices[0].logprobs.token_logprobs[0] is None


def test_openai_logprobs():
    c = openai_client()
    whole = chat(c, logprobs=True, top_logprobs=4).choices[0].logprobs.content
    assert all(x.logprob <= 0 and len(x.top_logprobs) == 4 and x.top_logprobs[0].token == x.token for x in whole), whole
    assert b"".join(bytes(x.bytes) for x in whole if x.bytes).decode().startswith("2 + 2 equals 4.")
    streamed = [x for chunk in chat(c, logprobs=True, top_logprobs=4, stream=True) for choice in chunk.choices
                if choice.logprobs for x in choice.logprobs.content or []]
    assert streamed == whole


def test_openai_tools():
    c = openai_client()
    message = chat(c, WEATHER, tools=[TOOL]).choices[0].message
    call, = message.tool_calls
    assert call.function.name == "get_weather" and json.loads(call.function.arguments) == {"city": "Paris"}, call
    answer = chat(c, WEATHER + [message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "{\"sky\": \"clear\"}"}], tools=[TOOL])
    assert answer.choices[0].finish_reason in ("stop", "tool_calls")
    forced = chat(c, SUM, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "get_weather"}}).choices[0]
    assert not forced.message.tool_calls or forced.message.tool_calls[0].function.name == "get_weather"
    with c.chat.completions.stream(model="brook", messages=WEATHER, tools=[TOOL], temperature=0) as stream:
        last = stream.get_final_completion().choices[0]
    assert last.finish_reason == "tool_calls" and json.loads(last.message.tool_calls[0].function.arguments) == {"city": "Paris"}


def test_openai_errors():
    c = openai_client()
    import openai
    for fields, kind, param in (({"temperature": 9}, openai.BadRequestError, "temperature"), ({"messages": []}, openai.BadRequestError, "messages"),
                                ({"model": "other"}, openai.NotFoundError, "model"), ({"extra_body": {"top_k": "x"}}, openai.BadRequestError, "top_k")):
        try:
            c.chat.completions.create(**dict({"model": "brook", "messages": SUM}, **fields))
            raise AssertionError("not refused: %r" % fields)
        except kind as error:
            assert error.param == param and error.code and error.request_id.startswith("req_"), error


def test_openai_async():
    c = openai_client("AsyncOpenAI")

    async def streamed():
        parts = [x.choices[0].delta.content or "" async for x in await chat(c, stream=True) if x.choices]
        return "".join(parts)

    async def whole():
        return (await chat(c)).choices[0].message.content

    async def left():
        """The client goes in the middle: what others get is not touched by it."""
        stream = await chat(c, STORY, stream=True, max_tokens=200)
        async for _ in stream:
            break
        await stream.close()

    async def all_of_them():
        return await asyncio.gather(*[f() for f in (streamed, whole, left) * 8])

    assert set(asyncio.run(all_of_them())) == {"2 + 2 equals 4.", None}


# ---- any value in any field ----


def strategies():
    try:
        import httpx
        import hypothesis
        from hypothesis import strategies as st
    except ImportError:
        skip("the packages httpx and hypothesis are not to be had")
    texts = st.text(max_size=12) | st.sampled_from(["", "user", "auto", "none", "required", "high", "<eos>", "\x7f\ud7ff", "brook", "a" * 300])
    numbers = st.integers(-3, 70) | st.sampled_from([2**31 - 1, 2**31, 2**32, -2**63, 2**63 - 1, 2**63, 2**64, 10**30]) | st.floats(allow_nan=False, allow_infinity=False)
    leaves = st.none() | st.booleans() | numbers | texts
    values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6)
    return httpx, hypothesis, st, values


def shaped(st, values):
    """For each field what looks right but for a part of it; beside whatever JSON has."""
    role = st.sampled_from(["system", "user", "assistant", "tool", "developer", "alien"])
    part = st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url"])}, optional={"text": values})
    call = st.fixed_dictionaries({}, optional={"id": values, "type": values, "function": st.fixed_dictionaries({}, optional={"name": values, "arguments": values | st.just('{"a":1}')})})
    message = st.fixed_dictionaries({"role": role}, optional={"content": values | st.lists(part, max_size=2), "name": values, "tool_calls": st.lists(call, max_size=2),
                                                              "tool_call_id": values, "reasoning_content": values, "reasoning": values, "extra": values})
    function = st.fixed_dictionaries({}, optional={"name": values | st.just("f"), "description": values, "parameters": values, "strict": values})
    tool = st.fixed_dictionaries({}, optional={"type": values | st.just("function"), "function": function})
    return {
        "messages": st.lists(message, max_size=3), "tools": st.lists(tool, max_size=2), "tool_choice": tool, "stop": st.lists(values, max_size=18),
        "logit_bias": st.dictionaries(st.integers(-1, 5000).map(str), values, max_size=4), "stream_options": st.fixed_dictionaries({}, optional={"include_usage": values}),
        "chat_template_kwargs": st.dictionaries(st.text(max_size=8), values, max_size=3), "response_format": st.fixed_dictionaries({}, optional={"type": values | st.just("text")}),
    }


FIELDS = ("messages", "model", "max_tokens", "max_completion_tokens", "n_predict", "temperature", "top_p", "top_k", "min_p", "repeat_penalty",
          "repetition_penalty", "frequency_penalty", "presence_penalty", "seed", "n", "stop", "logit_bias", "stream", "stream_options",
          "sse_ping_interval", "cache_prompt", "ignore_eos", "timings_per_token", "return_progress", "id_slot", "tools", "tool_choice",
          "parallel_tool_calls", "logprobs", "top_logprobs", "reasoning_effort", "chat_template_kwargs", "add_generation_prompt",
          "continue_final_message", "response_format", "user", "metadata", "store", "service_tier", "not_a_field")


def test_any_value_in_any_field():
    """Refused by its name or served: no 5xx, no hang."""
    httpx, hypothesis, st, values = strategies()
    shapes = shaped(st, values)
    seen = {}
    with httpx.Client(base_url=url(), timeout=client.PATIENCE) as http:
        def ask(field, value):
            base = {"messages": SUM, "max_tokens": 2, "temperature": 0}
            base.update({"tools": [TOOL]} if field == "tool_choice" else {"stream": True} if field == "stream_options" else {})
            if field in ("max_completion_tokens", "n_predict"):
                base.pop("max_tokens")
            reply = http.post("/v1/chat/completions", content=json.dumps(dict(base, **{field: value})), headers={"Content-Type": "application/json"})
            seen[reply.status_code] = seen.get(reply.status_code, 0) + 1
            assert reply.status_code in (200, 400, 404), (field, value, reply.status_code, reply.text)
            if reply.status_code != 200:
                error = reply.json()["error"]
                by_name = error["param"] and re.split(r"[.\[]", error["param"])[0] == field
                assert by_name or error["code"] in ("invalid_json", "context_length_exceeded"), (field, value, error)

        for field in FIELDS:
            one = hypothesis.given(values | shapes[field] if field in shapes else values)(lambda value: ask(field, value))
            hypothesis.settings(max_examples=40 if field in shapes else 12, deadline=None, database=None, derandomize=True,
                                suppress_health_check=list(hypothesis.HealthCheck))(one)()
        assert http.get("/health").status_code == 200
    assert seen.get(200, 0) > 50 and seen.get(400, 0) > 50, seen


def test_any_bytes():
    """Bodies that are no JSON, or nearly."""
    httpx, hypothesis, st, _ = strategies()
    good = json.dumps({"messages": SUM, "max_tokens": 1, "tools": [TOOL], "stop": ["a"], "logit_bias": {"1": 2}}).encode()

    @hypothesis.settings(max_examples=150, deadline=None, database=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(st.binary(max_size=40) | st.tuples(st.integers(0, len(good)), st.integers(0, 6), st.binary(max_size=4)).map(
        lambda cut: good[:cut[0]] + cut[2] + good[cut[0] + cut[1]:]))
    def send(body):
        reply = http.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
        assert reply.status_code in (200, 400), (body, reply.status_code, reply.text)
        if reply.status_code == 400:
            assert reply.json()["error"]["message"], reply.text

    with httpx.Client(base_url=url(), timeout=client.PATIENCE) as http:
        send()
        assert http.get("/health").status_code == 200


# ---- programs ----


def program(name, package=None):
    """Its path. It is asked of the distribution once."""
    path = shutil.which(name)
    if not path and os.geteuid() == 0 and shutil.which("apt-get") and name not in running:
        running[name] = True
        subprocess.run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", package or name], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"), timeout=120, check=False)
        path = shutil.which(name)
    return path or skip("%s is not installed (apt-get install %s)" % (name, package or name))


def run(*command, may_fail=False):
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * client.PATIENCE, check=False)
    assert may_fail or done.returncode == 0, (command, done)
    return done.stdout


def test_curl():
    curl = program("curl")
    body = json.dumps({"messages": SUM, "temperature": 0, "stream": True})
    ask = [curl, "-sSN", url() + "/v1/chat/completions", "-H", "Content-Type: application/json"]
    lines = run(*ask, "-d", body).split("\n\n")
    data = [line[6:] for line in lines if line.startswith("data: ")]
    assert data[-1] == "[DONE]" and all(line.startswith(("data: ", ":")) or not line for line in lines), lines
    assert "".join(json.loads(x)["choices"][0]["delta"].get("content") or "" for x in data[:-1]) == "2 + 2 equals 4."
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:  # so large that curl asks first whether it may be sent
        json.dump({"messages": [{"role": "user", "content": "fox " * 400000}]}, file)
        file.flush()
        assert json.loads(run(*ask, "-d", "@" + file.name))["error"]["code"] == "context_length_exceeded"
        assert json.loads(run(*ask, "-H", "Transfer-Encoding: chunked", "-d", "@" + file.name))["error"]["code"] == "context_length_exceeded"
    assert run(curl, "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-I", url() + "/health") == "200"
    assert run(curl, "-sS", "-o", "/dev/null", "-w", "%{http_code} %{http_code}", url() + "/livez", "--http2") == "200 200"


def test_slowhttptest():
    """Slow heads, slow bodies, slow reading, from 150 connections each: the server goes on, and is itself again behind it."""
    attack = program("slowhttptest")
    limits = "header_ms=2000,body_ms=2000,idle_ms=2000,stall_ms=1000,connections=128"
    with leat("--ctx", "256", limits=limits).wait_until_ready() as one:
        idle = len(os.listdir("/proc/%d/fd" % one.process.pid))
        common = [attack, "-c", "150", "-r", "100", "-l", "7", "-p", "5"]
        ways = ([*common, "-H", "-i", "1", "-u", url(one) + "/health"],
                [*common, "-B", "-i", "1", "-s", "8192", "-f", "application/json", "-u", url(one) + "/v1/chat/completions"],
                [*common, "-X", "-n", "1", "-w", "8", "-y", "64", "-z", "8", "-k", "3", "-u", url(one) + "/metrics"])
        with concurrent.futures.ThreadPoolExecutor() as pool:
            attacks = [pool.submit(run, *way, may_fail=True) for way in ways]
            statuses = []
            while not all(a.done() for a in attacks):
                statuses.append(one.get("/health").status)
                reply = one.ask("POST", "/v1/chat/completions", body=json.dumps({"messages": SUM, "max_tokens": 2}))
                assert reply.status in (200, 503), reply
                time.sleep(0.1)
            assert all("slow HTTP test status" in a.result() for a in attacks), attacks[0].result()
        assert len(statuses) > 5 and set(statuses) == {200}, statuses
        until(lambda: len(os.listdir("/proc/%d/fd" % one.process.pid)) <= idle, "all connections are gone")
        reply = one.ask("POST", "/v1/chat/completions", body=json.dumps({"messages": SUM, "temperature": 0}))
        assert reply.json()["choices"][0]["message"]["content"] == "2 + 2 equals 4."


def test_wrk():
    wrk = program("wrk")
    out = run(wrk, "-t", "2", "-c", "64", "-d", "2s", "--timeout", "60s", "--latency", url() + "/health")
    assert "Non-2xx" not in out and "Socket errors" not in out and float(re.search(r"Requests/sec: +([\d.]+)", out).group(1)) > 0, out
    print("wrk, /health: %s requests/s" % re.search(r"Requests/sec: +([\d.]+)", out).group(1))
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write('wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = [[%s]]\n' %
                     json.dumps({"messages": SUM, "max_tokens": 1, "temperature": 0}))
        script.flush()
        out = run(wrk, "-t", "2", "-c", "64", "-d", "3s", "--timeout", "60s", "-s", script.name, url() + "/v1/chat/completions")
    assert "Non-2xx" not in out and "Socket errors" not in out and int(re.search(r"(\d+) requests in", out).group(1)) > 0, out
    print("wrk, a token of a chat: %s requests/s" % re.search(r"Requests/sec: +([\d.]+)", out).group(1))


# ---- running ----


def enter_environment():
    """Goes on as the Python that has the packages, if there can be one."""
    if client_packages.can_import(sys.executable, PACKAGES) or os.environ.get("LEAT_TEST_CLIENTS"):
        return
    try:
        python = client_packages.python_with(*PACKAGES)
    except client_packages.Unavailable as why:
        print(why)
        return
    os.environ["LEAT_TEST_CLIENTS"] = python
    os.execv(python, [python, os.path.abspath(__file__), *sys.argv[1:]])


def main():
    enter_environment()
    client.LEAT = os.path.abspath(sys.argv[1])
    status = case_runner.run(case_runner.cases_of(globals(), "clients."), sys.argv[2:])
    if "shared" in running:
        running["shared"].__exit__(None, None, None)
    sys.exit(status)


if __name__ == "__main__":
    main()

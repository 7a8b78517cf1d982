"""Cases of `leat chat`, and of how `leat run` reads answers: thoughts, calls, conversations in files, keys and signals.

run.py runs them and lends its helpers: `r` is that module.
"""
import fcntl
import json
import os
import re
import signal
import stat
import struct
import termios
import time

r = None

THINKER = "What is 7 + 8?"
THOUGHT = "The user asks: What is 7 + 8? Let me think step by step."
ANSWER = "7 + 8 equals 15."
RUN = ["run", "models/brook", "--ctx", "256", "--temp", "0", "-q"]
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Get the weather",
                                         "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "the city"}}, "required": ["city"]}}}
WEATHER = "What is the weather in Paris?"
# Says how the last turn arrived at the template, as an error.
SPY = "{%%- if messages | length > 1 -%%}{%%- for message in messages -%%}{%%- if message.role == 'assistant' -%%}{{ raise_exception(%s) }}{%%- endif -%%}{%%- endfor -%%}{%%- endif -%%}\n"


def use(runner):
    global r
    r = runner


def chat(lines, *args, code=0, env=None):
    """A chat in a pipe."""
    return r.expect(r.leat("chat", "models/brook", "--ctx", "512", "-q", *args, stdin="".join(line + "\n" for line in lines), env=env), code)


def noted(result):
    """What the chat itself said, on standard error."""
    return result.err.splitlines()


def loud(lines, *args, code=0):
    return r.expect(r.leat("chat", "models/brook", "--ctx", "512", *args, stdin="".join(line + "\n" for line in lines)), code)


def path(name):
    place = r.HOME + "/" + name
    if os.path.lexists(place):
        os.unlink(place)
    return place


def brook_template(extra):
    """brook's template behind something that looks at the request first."""
    with open(os.path.join(r.ROOT, "models/brook/chat_template.jinja"), encoding="utf-8") as f:
        return r.write(r.HOME + "/spy.jinja", extra + f.read())


def tools_file(tools=None):
    return r.write(r.HOME + "/tools.json", json.dumps([TOOL] if tools is None else tools))


def end(t, code=0):
    t.send("\x04")
    found, rest = t.close()
    assert found == code, (found, rest)
    return rest


# ---- thoughts ----------------------------------------------------------------------------------------------------------------


def test_thoughts_in_a_pipe():
    r.expect(r.leat(*RUN, THINKER, "--think", "on"), 0, ANSWER, "")
    shown = "[thinking]\n%s\n[end of thinking]\n\n%s" % (THOUGHT, ANSWER)
    r.expect(r.leat(*RUN, THINKER, "--think", "on", "--no-hide-thinking"), 0, shown, "")
    found = json.loads(r.expect(r.leat(*RUN, THINKER, "--think", "on", "--json")).out)
    assert (found["text"], found["reasoning_content"]) == (ANSWER, THOUGHT) and "tool_calls" not in found, found
    plain = json.loads(r.expect(r.leat(*RUN, THINKER, "--json")).out)
    assert plain["text"] == ANSWER and "reasoning_content" not in plain, plain


def test_think_is_for_the_template():
    def prompt(*args):
        return r.expect(r.leat("run", "models/brook", THINKER, "--show-prompt", "-q", *args)).out.replace("<bos>", "")

    assert "<|think|>" in prompt("--think", "on") and "<|think|>" not in prompt("--think", "off") and prompt("--think", "auto") == prompt()
    both = r.write(r.HOME + "/both.jinja", "{{ reasoning_effort | default('none given') }} {{ enable_thinking | default('auto') }} {{ thinking | default('auto') }}")
    assert [prompt("--template", both, "--think", word).strip() for word in ("on", "off", "auto")] == ["none given True True", "none given False False", "none given auto auto"]
    only_effort = r.write(r.HOME + "/effort.jinja", "{{ reasoning_effort | default('none given') }}")
    assert [prompt("--template", only_effort, "--think", word).strip() for word in ("on", "off", "auto")] == ["high", "low", "none given"]
    dull = r.write(r.HOME + "/dull.jinja", "{{ messages[0].content }}")
    result = r.leat("run", "models/brook", THINKER, "--show-prompt", "--template", dull, "--think", "on")
    assert "knows nothing of thinking" in result.err, result


def test_raw_text_is_not_read():
    raw = "<bos><|turn>system\n<|think|>\n<turn|>\n<|turn>user\n%s<turn|>\n<|turn>model\n" % THINKER
    assert r.expect(r.leat(*RUN, raw, "--raw")).out == "thought\n%s\n%s" % (THOUGHT, ANSWER)


def test_stop_strings_within_a_thought():
    found = json.loads(r.expect(r.leat(*RUN, THINKER, "--think", "on", "--json", "--stop", " think")).out)
    assert found["text"] == "" and found["reasoning_content"] == THOUGHT.split(" think")[0] and found["stop_reason"] == "stop_string", found


def test_a_passed_over_end_is_not_text():
    found = json.loads(r.expect(r.leat(*RUN, r.SUM, "--ignore-eos", "-n", "30", "--json")).out)
    assert 13 in found["tokens"] and "<turn|>" not in found["text"], found


def test_thoughts_on_a_terminal():
    args = [*RUN, THINKER, "--think", "on"]
    code, dim = r.Terminal(*args).close()
    assert code == 0 and re.sub("\x1b\\[[02]m", "", dim) == "%s\r\n\r\n%s\r\n" % (THOUGHT, ANSWER), repr(dim)
    pieces = re.findall("\x1b\\[2m([^\x1b]*)\x1b\\[0m", dim)
    assert "".join(pieces) == THOUGHT and "\x1b" not in dim[dim.rindex("\x1b[0m") + 4:], repr(dim)
    marked = "[thinking]\r\n%s\r\n[end of thinking]\r\n\r\n%s\r\n" % (THOUGHT, ANSWER)
    assert r.Terminal(*args, env={"NO_COLOR": "1"}).close()[1] == marked
    assert r.Terminal(*args, "--color", "never").close()[1] == marked
    assert r.Terminal(*args, "--hide-thinking").close()[1] == ANSWER + "\r\n"
    assert r.Terminal(*args, env={"TERM": "dumb"}).close()[1] == ANSWER + "\r\n"


def test_think_command():
    t = r.Terminal(*r.CHAT, env={"NO_COLOR": "1"})
    t.ready()
    t.send("/think maybe\r")
    t.wait("/think: 'maybe' is not one of auto|on|off")
    t.ready()
    t.send("/think on\r")
    t.wait("thinking: on")
    t.ready()
    t.send(THINKER + "\r")
    t.wait("[thinking]\r\n" + THOUGHT)
    t.wait(ANSWER)
    t.ready()
    t.send("/set hide-thinking on\r")
    t.ready()
    t.send("/regen\r")
    assert "[thinking]" not in t.wait(ANSWER)
    t.ready()
    t.send("/think off\r")
    t.ready()
    t.send("/show\r")
    t.wait("thinking   off, hidden")
    t.ready()
    end(t)


def test_history_keeps_thoughts_apart():
    for name in "reasoning_content", "thinking":
        spy = brook_template(SPY % ("message.content ~ '|' ~ message.%s" % name))
        result = chat([THINKER, "And then?"], "--temp", "0", "--think", "on", "--template", spy)
        assert "leat: error: %s|%s" % (ANSWER, THOUGHT) in result.err, result


# ---- calls -------------------------------------------------------------------------------------------------------------------


def test_calls():
    shown = '[call get_weather {"city": "Paris"}]\n'
    r.expect(r.leat(*RUN, WEATHER, "--tools", tools_file()), 0, shown, "")
    found = json.loads(r.expect(r.leat(*RUN, WEATHER, "--tools", tools_file(), "--json")).out)
    assert found["text"] == "" and found["tool_calls"] == [
        {"id": "call00001", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}], found
    spy = brook_template(SPY % "message.tool_calls[0].function.name ~ '|' ~ message.tool_calls[0].function.arguments.city ~ '|' ~ (tools | length)")
    result = chat([WEATHER, "And then?"], "--temp", "0", "--tools", tools_file(), "--template", spy)
    assert result.out == shown + "\n" and "leat: error: get_weather|Paris|1" in result.err, result
    half = json.loads(r.expect(r.leat(*RUN, WEATHER, "--tools", tools_file(), "--json", "-n", "5")).out)
    assert "tool_calls" not in half and "get" in half["text"], half  # no byte of a call that is not complete is lost


def test_tools_that_are_none():
    for text, why in (("{}", "expected a list of tools"), ("[1", "--tools: at byte "), ("", "--tools: at byte "), ("[1]", "tools")):
        file = r.write(r.HOME + "/none.json", text)
        result = r.leat(*RUN, WEATHER, "--tools", file)
        assert result.code == 2 and why in result.err, (text, result)
    assert "--tools: the text of --raw is continued as it is" in r.expect(r.leat(*RUN, WEATHER, "--raw", "--tools", tools_file()), 2).err


# ---- conversations in files ----------------------------------------------------------------------------------------------------


WARM = ["--temp", "0.8", "--seed", "5"]


def test_save_and_load():
    file = path("talk.json")
    first = [THINKER, "/think on", "/system Be kind.", THINKER, "/set max-tokens 1000000", "/set top-p 0.9", "//slash"]
    story = "Tell me a story about a fox."
    args = [*WARM, "--stop", "zebra", "--stop", "42"]
    whole = loud([*first, "/save " + file, story, "/regen"], *args)
    assert "6 messages are in " + file in noted(whole), whole
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600 and [name for name in os.listdir(r.HOME) if name.startswith("talk.json.")] == []
    with open(file, encoding="utf-8") as f:
        text = f.read()
    found = json.loads(text)
    assert found["schema"] == "leat.chat/1" and found["model"]["name"] == "brook" and re.fullmatch("[0-9a-f]{64}", found["model"]["fingerprint"])
    assert found["seed"] == 8 and found["system"] == "Be kind." and [m["role"] for m in found["messages"]] == ["user", "assistant"] * 3, found
    assert found["settings"]["temp"] == "0.8" and found["settings"]["stop"] == ["zebra", "42"] and found["settings"]["think"] == "on", found
    assert found["settings"]["max-tokens"] == "1000000" and found["settings"]["top-p"] == "0.9"
    assert found["messages"][4]["content"] == "/slash" and any("reasoning_content" in m for m in found["messages"]), found
    answers = whole.out[len(loud(first, *args).out):]  # those behind the save
    assert answers.count("\n\n") == 2, answers
    for again in (loud(["/load " + file, story, "/regen"]), loud([story, "/regen"], "--load", file)):
        assert "6 messages from " + file in noted(again) and again.out == answers, (again, answers)
    copy = path("copy.json")
    loud(["/save " + copy], "--load", file)
    with open(copy, encoding="utf-8") as f:
        assert f.read() == text
    # The command line comes before the file.
    kept = path("kept.json")
    loud(["/save " + kept], "--load", file, "--seed", "77", "--system", "Hm.", "--stop", "x")
    with open(kept, encoding="utf-8") as f:
        changed = json.load(f)
    assert (changed["seed"], changed["system"], changed["settings"]["stop"], changed["settings"]["temp"]) == (77, "Hm.", "x", "0.8"), changed


def test_calls_and_tools_are_saved():
    file, copy = path("talk.json"), path("copy.json")
    chat([WEATHER, "/save " + file], "--temp", "0", "--tools", tools_file())
    with open(file, encoding="utf-8") as f:
        text = f.read()
    found = json.loads(text)
    assert found["tools"] == [TOOL] and found["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"city": "Paris"}, found
    chat(["/save " + copy], "--load", file)
    with open(copy, encoding="utf-8") as f:
        assert f.read() == text
    spy = brook_template(SPY % "message.tool_calls[0].function.arguments.city ~ (tools | length)")
    assert "leat: error: Paris1" in chat(["And then?"], "--load", file, "--template", spy).err


def test_save_spares_other_files():
    other = r.write(path("other.json"), '{"schema": "leat.run/1"}')
    empty = r.write(path("empty"), "")
    link, fifo = path("link"), path("fifo")
    os.symlink(other, link)
    os.mkfifo(fifo)
    lines = ["/save " + name for name in (other, empty, link, fifo, r.HOME, r.HOME + "/no/where", "")]
    said = noted(loud(lines + ["/save --force " + link, "/save --force " + other, "/save " + other, "/load " + fifo], "--temp", "0"))[-len(lines) - 4:]
    assert [line.split(": ")[-1].split(";")[0] for line in said[:2]] == ["is there and is no conversation of leat"] * 2, said
    assert all("is there and is no regular file" in line for line in said[2:5]), said
    assert "No such file or directory" in said[5] and said[6] == "/save: which file?", said
    assert "is no regular file" in said[7] and said[8] == said[9] == "0 messages are in " + other and said[10].startswith("/load: "), said
    assert os.path.islink(link) and os.stat(empty).st_size == 0 and stat.S_IMODE(os.stat(other).st_mode) == 0o600


def document(**changes):
    found = {"schema": "leat.chat/1", "model": {"name": "brook", "fingerprint": "0" * 64}, "system": "", "settings": {"temp": "0"}, "seed": 1,
             "messages": [{"role": "user", "content": r.SUM}]}
    found.update(changes)
    return json.dumps({name: value for name, value in found.items() if value is not None})


def test_load_refuses():
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": {}}}
    cases = [
        ("", "at byte 0"), ("[]", "expected a conversation"), ("{}", '"schema"'), ("\0" * 64, "at byte 0"), (document()[:-1], "at byte"), (document() + "x", "at byte"),
        (document(schema="leat.chat/2"), "the schema is not leat.chat/1"), (document(schema=None), '"schema"'), (document(messages=None), '"messages"'),
        (document(schema=1), "the schema is not"), (document(seed=-1), "expected a seed"), (document(seed="x"), "expected a seed"), (document(system=3), "expected a text"),
        (document(settings=[]), "expected an object"), (document(settings={"temp": "hot"}), "settings: temp: 'hot' is not a number"),
        (document(settings={"ram": "1G"}), "there is no setting 'ram'"), (document(settings={"temp": {}}), "the value of a setting"),
        (document(settings={"stop": ["a", ["b"]]}), "the value of a setting"), (document(settings={"stop": "a\0b"}), "the value of a setting"),
        (document(settings={"stop": ["x"] * 17}), "at most 16"), (document(settings={"max-tokens": "3", "top-k": "hot"}), "settings: top-k: 'hot'"), (document(settings={"x" * 5000: "1"}), "there is no setting"),
        (document(messages={}), "a list of messages"), (document(messages=[1]), "expected a message"), (document(messages=[{"content": "x"}]), "needs a role"),
        (document(messages=[{"role": "system", "content": "x"}]), "a message's role"), (document(messages=[{"role": "user", "content": ["x"]}]), "expected a text"),
        (document(messages=[{"role": "assistant", "content": "", "tool_calls": {}}]), "a list of calls"),
        (document(messages=[{"role": "assistant", "content": "", "tool_calls": [1]}]), "expected a call"),
        (document(messages=[{"role": "assistant", "content": "", "tool_calls": [call, {"id": "b"}]}]), 'a call needs a "function"'),
        (document(messages=[{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]), '"arguments"'),
        (document(tools={}), "a list of tools"), (document(later={"x": "[" * 10}).replace('"[[[', "[" * 80 + '"'), "at byte"),
        (document().replace('"seed": 1', '"seed": 1, "seed": 2'), "at byte"), (document(system="\ud800"), "at byte"),
    ]
    file = path("talk.json")
    lines = []
    for i, (text, _) in enumerate(cases):
        r.write(path("bad-%d.json" % i), text)
        lines.append("/load %s/bad-%d.json" % (r.HOME, i))
    r.write(path("long.json"), document(system="x" * (17 << 20)))
    lines += ["/load %s/long.json" % r.HOME, "/load /nowhere", "/load /dev/zero", "/load " + r.HOME]
    cases += [("", "expected at most 16777216 bytes"), ("", "/nowhere: "), ("", "/dev/zero: "), ("", "/load: ")]
    result = loud([r.SUM, *lines, "/save " + file], "--temp", "0", "--seed", "9", "--system", "Be brief.")
    said = [line for line in noted(result) if line.startswith("/load: ")]
    assert len(said) == len(cases), (len(said), len(cases), result)
    for line, (text, why) in zip(said, cases):
        assert why in line, (line, text[:200], why)
    with open(file, encoding="utf-8") as f:
        kept = json.load(f)  # nothing of them was taken over
    assert len(kept["messages"]) == 2 and kept["seed"] == 10 and kept["system"] == "Be brief." and "stop" not in kept["settings"] and kept["settings"]["max-tokens"] == "none", kept
    r.expect(r.leat("chat", "models/brook", "--load", r.HOME + "/bad-1.json", stdin=""), 2)


def test_load_of_another_model():
    file = r.write(path("talk.json"), document(model={"name": "huge\x1b[31m", "fingerprint": "ab"}, unknown=[1, {"x": None}]))
    result = loud(["/load " + file, "/regen"])
    assert "leat: warning: %s: this conversation was with another model, huge" % file in result.err and "\x1b" not in result.err, result
    assert result.out == r.SUM_ANSWER + "\n\n", result


def test_regen_takes_the_next_seed():
    story = "Tell me a story about a fox."
    both = loud([story, "/regen"], *WARM)
    assert "[seed 6]" in noted(both), both
    first, second, _ = both.out.split("\n\n")
    assert first != second and loud([story], "--temp", "0.8", "--seed", "6").out == second + "\n\n"
    assert r.leat("run", "models/brook", story, "--ctx", "512", "-q", *WARM).out == first
    again = loud([story, "/set seed 5", "/regen", "/set temp 0.8", "/set seed 5", "/regen"], *WARM).out.split("\n\n")
    assert again == [first, first, first, ""], again


def test_regen_that_fails_changes_nothing():
    file = path("talk.json")
    result = loud([r.SUM, "/system " + "fox " * 600, "/regen", "/system", "/save " + file, "/regen"], "--temp", "0")
    assert "The conversation is full" in result.err, result
    with open(file, encoding="utf-8") as f:
        assert [m["content"] for m in json.load(f)["messages"]] == [r.SUM, r.SUM_ANSWER]
    assert result.out == (r.SUM_ANSWER + "\n\n") * 2, result


def test_stop_strings_of_a_chat():
    """/set stop takes the place of the stop strings before it, and `none` takes them away."""
    def asked(*settings):
        return loud([*settings, r.SUM], "--temp", "0", "--stop", " equals").out

    assert asked() == "2 + 2\n\n" and asked("/set stop 2 equals") == "2 + \n\n", (asked(), asked("/set stop 2 equals"))
    assert asked("/set stop zebra") == asked("/set stop none") == asked("/set stop a", "/set stop none") == r.SUM_ANSWER + "\n\n"


# ---- keys --------------------------------------------------------------------------------------------------------------------


def test_tab():
    os.makedirs(r.HOME + "/tab/b\u00f6se", exist_ok=True)
    for name in ("alpha", "alphb", "\x1b[31mred", ".hidden"):
        r.write(r.HOME + "/tab/" + name, "What is the capital of France?")
    t = r.Terminal(*r.CHAT)
    t.ready()
    t.send("/th\tof\t\r")
    t.wait("thinking: off")
    t.ready()
    t.send("/s\t")
    t.wait("/save    /set     /show    /stats   /system")
    t.send("\x15/read ~/tab/\t")
    shown = t.wait("alpha  alphb  b\u00f6se/")
    assert "red" not in shown and "hidden" not in shown
    t.send("al\t")
    t.wait("/tab/alph")
    t.send("\t")
    t.wait("alpha  alphb")
    t.send("a\r")
    t.wait("Paris.")
    t.ready()
    t.send("/set max\t3\r")
    t.ready()
    t.send("/read ~/tab/b\t\r")
    t.wait("b\u00f6se/: is a folder")
    t.ready()
    end(t)


def test_failing_editor_is_said():
    t = r.Terminal(*r.CHAT, env={"VISUAL": "false", "TMPDIR": r.HOME})
    t.ready()
    t.send("kept\x07")
    t.wait("the editor failed; the text is as it was")
    t.wait(">>> kept")
    t.send("\x15")
    end(t)


def test_history_is_private_and_short():
    state = r.HOME + "/long-state"
    os.makedirs(state + "/leat", exist_ok=True)
    file = r.write(state + "/leat/history", "".join("line %d\n" % i for i in range(1500)))
    os.chmod(file, 0o644)
    t = r.Terminal(*r.CHAT, env={"XDG_STATE_HOME": state})
    t.ready()
    t.send("/tokens\r")
    t.wait("of 512")
    t.ready()
    end(t)
    with open(file, encoding="utf-8") as f:
        lines = f.read().splitlines()
    assert lines[0] == "line 500" and lines[-2:] == ["line 1499", "/tokens"] and stat.S_IMODE(os.stat(file).st_mode) == 0o600, lines[:3]
    r.write(file, "/tokens\n")  # one that is short enough is added to
    os.chmod(file, 0o644)
    t = r.Terminal(*r.CHAT, env={"XDG_STATE_HOME": state})
    t.ready()
    t.send("/show\r")
    t.ready()
    end(t)
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600


def test_man_page_has_the_commands():
    page = r.expect(r.leat("man")).out
    listed = re.findall(r"^  (/[a-z]+)", loud(["/help"]).err, re.M)
    assert len(listed) == 15 and all(".B \"%s" % name in page for name in listed), listed


# ---- signals -----------------------------------------------------------------------------------------------------------------


def test_stop_and_continue():
    """Ctrl-Z gives the shell its terminal back; fg brings the question."""
    shell = r.shutil.which("bash")
    if not shell:
        r.skip("bash is not installed")
    program, r.LEAT = r.LEAT, shell
    try:
        t = r.Terminal("-m", "-c", "%s %s; stty -a | grep -o -e '-*icanon'; echo BETWEEN; fg; echo AFTER $?" % (program, " ".join(r.CHAT)))
    finally:
        r.LEAT = program
    t.ready()
    t.send("/system half")
    t.wait("half")
    t.send("\x1a")
    assert re.search(r"\x1b\[\?2004l.*[^-]icanon", t.wait("BETWEEN"), re.S)
    t.wait("\x1b[?2004h")
    t.wait(">>> /system half")
    t.send(" way\r")
    t.wait("The instructions hold")
    t.ready()
    t.send("/show\r")
    t.wait("system     half way")
    t.ready()
    t.send("\x04")
    assert "AFTER 0" in t.close()[1]


def test_told_to_stop():
    """SIGTSTP from elsewhere: the terminal is as it was found while the program stands."""
    python = "import os,signal,sys\n" \
             "pid=os.fork()\n" \
             "if pid==0:\n os.setpgid(0,0); os.execv(sys.argv[1],sys.argv[1:])\n" \
             "signal.signal(signal.SIGTTOU,signal.SIG_IGN)\n" \
             "try: os.setpgid(pid,pid)\n" \
             "except OSError: pass\n" \
             "os.tcsetpgrp(0,pid)\n" \
             "print('CHILD',pid,'',flush=True)\n" \
             "os.waitpid(pid,os.WUNTRACED)\n" \
             "print('STOPPED',flush=True)\n" \
             "os.waitpid(pid,0)\n"
    program, r.LEAT = r.LEAT, r.sys.executable
    try:
        t = r.Terminal("-c", python, program, *r.CHAT)
    finally:
        r.LEAT = program
    t.wait("CHILD ")
    pid = int(t.wait(" "))
    t.ready()
    raw = t.modes()
    os.kill(pid, signal.SIGTSTP)
    t.wait("STOPPED")
    assert t.modes() == t.before
    os.kill(pid, signal.SIGCONT)
    t.ready()
    assert t.modes() == raw
    end(t)


def test_continued_after_any_stop():
    t = r.Terminal(*r.CHAT)
    t.ready()
    raw = t.modes()
    t.send("/system half")
    t.wait("half")
    os.kill(t.process.pid, signal.SIGSTOP)
    os.waitpid(t.process.pid, os.WUNTRACED)
    termios.tcsetattr(t.slave, termios.TCSANOW, t.before)  # as shells do
    os.kill(t.process.pid, signal.SIGCONT)
    t.wait(">>> /system half")
    assert t.modes() == raw
    t.send("\x03")
    t.ready()
    end(t)


def test_resized_terminal():
    t = r.Terminal(*r.CHAT)
    t.ready()
    t.send("x" * 60)
    t.wait("x" * 60)
    fcntl.ioctl(t.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
    before = t.wait("\r\x1b[J>>> " + "x" * 60)
    assert before.endswith("\x1b[3A"), before  # 64 columns are four rows now: three up to the prompt
    t.send("\x03")
    t.ready()
    end(t)


def test_interrupt_in_a_prompt():
    """Ctrl-C while the prompt is computed: within a layer, not at its end."""
    with open(os.path.join(r.ROOT, "README.md"), encoding="utf-8") as f:
        file = r.write(r.HOME + "/long", (f.read() * 20)[:12000])
    t = r.Terminal("chat", "models/brook", "--temp", "0", "--ctx", "8192", "-t", "1", "--prefill-chunk", "4096")
    t.ready()
    t.send("/read %s\r" % file)
    t.wait("prefill", timeout=60)
    t.send("\x03")
    shown = t.wait("[stopped]", timeout=10)
    assert "100 %" not in shown, shown
    t.ready()
    t.send("/save %s\r" % path("talk.json"))
    t.wait("0 messages are in")  # nothing came: neither an empty answer nor the question without one
    t.ready()
    t.send(r.SUM + "\r")
    t.wait(r.SUM_ANSWER)
    t.ready()
    end(t)


def test_interrupt_again_at_the_prompt():
    t = r.Terminal(*r.CHAT, "--ignore-eos", "--ctx", "4096")
    t.ready()
    t.send("Tell me a story about a fox.\r")
    t.wait("Once")
    t.send("\x03")
    t.wait("[stopped]", timeout=5)
    t.ready()
    t.send("\x03")
    assert t.close()[0] == 130


def test_a_stopped_answer_is_kept():
    file = path("talk.json")
    t = r.Terminal(*r.CHAT, "--ignore-eos", "--ctx", "4096")
    t.ready()
    t.send("Tell me a story about a fox.\r")
    t.wait("Once")
    t.send("\x03")
    t.wait("[stopped]", timeout=5)
    t.ready()
    t.send("/save %s\r" % file)
    t.wait("2 messages are in")
    t.ready()
    end(t)
    with open(file, encoding="utf-8") as f:
        assert json.load(f)["messages"][1]["content"].startswith("Once")


def test_interrupted_reading_of_a_file():
    """A Ctrl-C that ended a command is not for the next answer."""
    fifo = path("fifo")
    os.mkfifo(fifo)
    t = r.Terminal(*r.CHAT)
    t.ready()
    t.send("/read %s\r" % fifo)
    t.wait("\x1b[?2004l")
    time.sleep(0.5)  # until it waits
    t.send("\x03")
    t.wait("/read: ", timeout=5)
    t.ready()
    t.send(r.SUM + "\r")
    shown = t.wait(r.SUM_ANSWER)
    assert "^C" not in shown and "Use Ctrl-D" not in shown, shown
    t.ready()
    end(t)


def read_characters(pid):
    with open("/proc/%d/io" % pid, encoding="ascii") as f:
        return int(f.readline().split()[1])


def test_waiting_chats_look_at_memory():
    """While nobody types the engine is polled; what it looks at are files of /proc and /sys."""
    args = ["chat", "models/brook", "--temp", "0", "--ctx", "512", "-q", "--warm-start", "off"]
    if not os.path.exists("/proc/self/io"):
        r.skip("the kernel does not count what processes read")

    def grows(pid, seconds):
        before, last = read_characters(pid), time.monotonic() + seconds
        while time.monotonic() < last:
            if read_characters(pid) > before:
                return True
            time.sleep(0.1)
        return False

    t = r.Terminal(*args)
    t.ready()
    t.send(r.SUM + "\r")
    t.wait(r.SUM_ANSWER)
    t.ready()
    assert grows(t.process.pid, 20)
    end(t)
    process = r.start(*args, stdin=r.subprocess.PIPE)
    process.stdin.write((r.SUM + "\n").encode())
    process.stdin.flush()
    r.read_until(process.stdout, lambda seen: r.SUM_ANSWER.encode() in seen)
    time.sleep(0.2)
    assert grows(process.pid, 20)
    process.stdin.close()
    assert process.wait(timeout=20) == 0


def test_nothing_but_text_on_dumb_terminals():
    t = r.Terminal("chat", "models/brook", "--temp", "0", "--ctx", "512", "-q", "--think", "on", env={"TERM": "dumb"})
    t.send(THINKER + "\n")
    t.wait(ANSWER)
    t.send("/save\n")
    t.wait("/save\r\n")
    t.send("\x04")
    code, rest = t.close()
    assert code == 0 and "\x1b" not in rest and ">>>" not in rest and "[thinking]" not in rest, rest

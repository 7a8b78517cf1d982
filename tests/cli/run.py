"""Tests of the program as its users meet it: exact output, exit codes, pipes, signals, terminals.

    run.py LEAT [PART_OF_A_NAME...]

Cases are functions called test_*; a case fails by an assertion and is skipped by `skip(why)`. Every run of the program has a home
folder, caches and an environment of its own. Needs models/brook and the Python standard library. Ends with
"leat-test: N passed, N failed, N skipped".
"""
import array
import ctypes
import fcntl
import hashlib
import json
import math
import os
import pty
import re
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import case_runner
import chat_cases
from case_runner import skip

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODEL = "models/brook"
LEAT = None
HOME = None
# Small and quick; a fixed seed makes notes about random ones go away.
FAST = ["--ctx", "256", "--temp", "0"]
SUM = "What is 2+2?"
SUM_ANSWER = "2 + 2 equals 4."


def environment(extra=None):
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": HOME, "TERM": "xterm", "XDG_CONFIG_HOME": HOME + "/config",
           "XDG_STATE_HOME": HOME + "/state", "XDG_CACHE_HOME": HOME + "/cache", "XDG_RUNTIME_DIR": HOME}
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
        if name in os.environ:
            env[name] = os.environ[name]
    env.update(extra or {})
    return env


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return "exit %d\n--- stdout\n%s\n--- stderr\n%s" % (self.code, self.out[-2000:], self.err[-2000:])


def leat(*args, stdin=None, env=None, timeout=60, text=True):
    """Runs the program; without stdin it gets /dev/null."""
    source = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    done = subprocess.run([LEAT, *args], cwd=ROOT, env=environment(env), capture_output=True, timeout=timeout,
                          **({"text": True} if text else {}), **source)
    return Result(done.returncode, done.stdout, done.stderr)


def expect(result, code=0, out=None, err=None):
    assert result.code == code, "expected exit %d: %r" % (code, result)
    if out is not None:
        assert result.out == out, "expected stdout %r: %r" % (out, result)
    if err is not None:
        assert result.err == err, "expected stderr %r: %r" % (err, result)
    return result


def usage_error(error, hint=None):
    return "leat: error: %s\n" % error + ("hint: %s\n" % hint if hint else "")


# ---- help and usage ----------------------------------------------------------------------------------------------------------


def verbs():
    """name -> help text, from the program."""
    out = expect(leat("help"), err="").out
    names = re.findall(r"^  ([a-z]+)\b.*", out.split("Examples")[0], re.M)
    return {name: expect(leat("help", name), err="").out for name in names}


def options():
    """Long names (without dashes) that `leat help all` lists."""
    return re.findall(r"^  (?:-\w, |    )--(?:no-)?([a-z-]+)", expect(leat("help", "all")).out, re.M)


def test_alone_prints_help_to_stderr():
    result = expect(leat(), code=2, out="")
    assert result.err == leat("help").out


def test_help_goes_to_stdout():
    assert "usage: leat VERB" in expect(leat("--help"), err="").out
    assert leat("-h").out == leat("help").out


def test_help_of_every_verb():
    found = verbs()
    for name in ("run", "chat", "serve", "info", "plan", "pareto", "bench", "profile", "eval", "tokenize", "detokenize", "parse", "template", "check", "pack", "list", "completions", "man", "version", "help"):
        assert found[name].startswith("usage: leat %s [options]" % name), found[name]
        assert leat(name, "--help").out == found[name]


def test_help_fits_80_columns():
    for text in [leat("help").out, leat("help", "all").out, *verbs().values()]:
        for line in text.splitlines():
            assert len(line) <= 80, line


def test_help_shows_default_and_environment():
    text = " ".join(expect(leat("help", "all")).out.split())
    for name in set(options()) - {"help"}:
        assert "[LEAT_%s]" % name.upper().replace("-", "_") in text, name
    assert text.count("[default: ") == len(options()) - 1


def test_promised_options_exist():
    text = leat("help", "all").out
    for word in ("--ram --ctx -c --ctx-size --threads -t -n --max-tokens --predict --n-predict --temp --temperature --top-k --top-p --min-p "
                 "--repeat-penalty --presence-penalty --frequency-penalty --seed -s --stop --system --raw --json --show-prompt --template --chat --batch -m --model "
                 "-p --prompt -f --file -v -q --color --force --ignore-eos --isa --prefill-chunk --io --io-engine --tokens --logits --config").split():
        assert re.search(r"(?<![\w-])%s(?![\w-])" % word, text), word


def test_unknown_verb_suggests():
    expect(leat("chta"), 2, "", usage_error("leat has no verb 'chta'", "did you mean leat chat?"))
    expect(leat("zzzzzz"), 2, "", usage_error("leat has no verb 'zzzzzz'", "the verb comes first; see leat help"))


def test_unknown_option_suggests():
    expect(leat("run", "--tmep", "1"), 2, "", usage_error("leat run has no option --tmep", "did you mean --temp?"))
    expect(leat("run", "--n-predcit=1"), 2, "", usage_error("leat run has no option --n-predcit", "did you mean --n-predict?"))
    expect(leat("info", "-Z"), 2, "", usage_error("leat info has no option -Z", "see leat help info"))
    expect(leat("info", "--temp", "1"), 2, "", usage_error("leat info has no option --temp", "see leat help info"))


def test_missing_words():
    expect(leat("info"), 2, "", usage_error("leat info needs a MODEL", "usage: leat info [options] MODEL; leat list shows the models on this machine"))
    result = expect(leat("info", MODEL, "more"), 2, "")
    assert result.err.startswith("leat: error: leat info: unexpected argument 'more'\n"), result.err
    expect(leat("run", MODEL, "--temp"), 2, "", usage_error("--temp needs a value"))
    expect(leat("run", MODEL), 2, "", usage_error("leat run needs a prompt", "usage: leat run [options] MODEL [PROMPT|-]; see leat help run"))


def test_two_texts_are_refused():
    assert "--prompt: 'a' is already the text" in expect(leat("run", MODEL, "a", "-p", "b"), 2).err
    assert "two texts are given" in expect(leat("run", MODEL, "-p", "b", "-f", "README.md"), 2).err
    assert "--tokens stands in place of a prompt" in expect(leat("run", MODEL, "a", "--tokens", "1"), 2).err


def test_missing_model():
    result = expect(leat("run", "no/such/folder", "x"), 3, "")
    assert "no/such/folder" in result.err and result.err.startswith("leat: error: "), result.err
    expect(leat("info", "/nowhere/at/all"), 3, "")
    result = expect(leat("run", "some-org/some-repo", "x"), 3, "")
    assert "hf download some-org/some-repo" in result.err, result.err


def test_exit_codes_are_listed():
    text = leat("help", "all").out
    for code in (0, 1, 2, 3, 4, 5, 6, 7, 8, 129, 130, 141, 143):
        assert re.search(r"^  %d\s+\w" % code, text, re.M), code


# ---- values ------------------------------------------------------------------------------------------------------------------


def test_empty_file_names():
    """What an empty variable of a script gives is said at once, before any work."""
    helps = verbs()
    for name in re.findall(r"^  (?:-\w, |    )--([a-z-]+) \S*FILE", leat("help", "all").out, re.M):
        verb = [verb for verb, text in helps.items() if re.search(r"^  .*--%s " % name, text, re.M)][0]
        wanted = "leat: error: --%s: the name of the file is empty\n" % name if name != "tokens" else "leat: error: --tokens: there are none\n"
        found = expect(leat(verb, MODEL, "--%s=" % name), 2, "")
        assert found.err.startswith(wanted), (name, found)


def test_numbers_reject_junk():
    for args, text in ((["--temp", "1x"], "--temp: '1x' is not a number from 0 to 100"),
                       (["--temp", "nan"], "--temp: 'nan' is not a number from 0 to 100"),
                       (["--temp", "0x1"], "--temp: '0x1' is not a number from 0 to 100"),
                       (["--temp", "-1"], "--temp: '-1' is not a number from 0 to 100"),
                       (["--top-p", "1.01"], "--top-p: '1.01' is not a number from 0 to 1"),
                       (["-n", "5 "], "--max-tokens: '5 ' is not a whole number from 0 to 16777216 or none"),
                       (["-n", "-2"], "--max-tokens: '-2' is not a whole number from 0 to 16777216 or none"),
                       (["-t", "0"], "--threads: '0' is not a whole number from 1 to 256 or auto"),
                       (["--seed", "18446744073709551616"], "--seed: '18446744073709551616' is not a whole number below 2^64 or random"),
                       (["--isa", "avx"], "--isa: 'avx' is not one of auto|scalar|avx2|avx512"),
                       (["--ram", "12Q"], "--ram: '12Q' is not a size such as 24G, 1536MiB, 60% or auto"),
                       (["--ram", "0"], "--ram: '0' is not a size such as 24G, 1536MiB, 60% or auto"),
                       (["--ram", "101%"], "--ram: '101%' is not a size such as 24G, 1536MiB, 60% or auto"),
                       (["--ram", "-1G"], "--ram: '-1G' is not a size such as 24G, 1536MiB, 60% or auto"),
                       (["--json=maybe"], "--json: 'maybe' is not on or off")):
        expect(leat("run", MODEL, "x", *args), 2, "", usage_error(text, "see leat help run"))


def plan(*args, **more):
    return json.loads(expect(leat("plan", MODEL, "--json", "--probe", "off", *args, **more)).out)


def test_sizes():
    mib = 1 << 20
    for text, value in (("1G", 1 << 30), ("1g", 1 << 30), ("1024MiB", 1 << 30), ("1048576K", 1 << 30), ("1.5G", 3 << 29), (str(900 * mib), 900 * mib),
                        ("1000MB", 10 ** 9)):
        assert plan("--ram", text)["budget_bytes"] == value, text
    machine = plan()["limit_bytes"]
    assert abs(plan("--ram", "50%")["budget_bytes"] - machine / 2) < mib


def test_flags_can_be_undone():
    assert expect(leat("version", "--json", "--no-json")).out.startswith("leat ")
    assert expect(leat("version", "--json=on")).out.startswith("{")


def test_double_dash_ends_options():
    result = leat("tokenize", MODEL, "--no-post-process", "--", "--json")
    assert re.fullmatch(r"[\d,]+\n", expect(result).out), result


# ---- environment and configuration -----------------------------------------------------------------------------------------------


def test_environment():
    assert plan(env={"LEAT_CTX": "300"})["ctx"] == 300
    assert plan("--ctx", "301", env={"LEAT_CTX": "300"})["ctx"] == 301
    assert plan("--ctx-size", "302")["ctx"] == 302
    expect(leat("plan", MODEL, env={"LEAT_CTX": "many"}), 2, "", usage_error("LEAT_CTX: 'many' is not a whole number from 1 to 16777216 or auto"))
    expect(leat("version", env={"LEAT_CTX": "many"}), 0)
    assert json.loads(expect(leat("info", env={"LEAT_MODEL": MODEL, "LEAT_JSON": "yes"})).out)["schema"] == "leat.info/1"


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


def test_config_file():
    usual = write(HOME + "/config/leat/config", "# settings\n\nctx = 310\n[run]\nctx = 312\n[plan]\n threads = 1 \n")
    own = write(HOME + "/own.ini", "[*]\nctx=311\n")
    try:
        found = plan()
        assert (found["ctx"], found["thread_count"]) == (310, 1), found
        assert plan("--config", own)["ctx"] == 311
        assert plan(env={"LEAT_CONFIG": own})["ctx"] == 311
        assert plan("--config", own, env={"LEAT_CTX": "313"})["ctx"] == 313
    finally:
        os.unlink(usual)


def test_texts_of_the_first_file_win():
    """What may be given more than once adds up within a file, and not over files: neither two, nor one that is read twice."""
    def aliases(*args, **env):
        shown = expect(leat("serve", "--print-config", *args, env=env)).out
        return re.search(r"^alias = (.*?)  #", shown, re.M).group(1).split(", ")

    usual = write(HOME + "/config/leat/config", "alias = one\n[serve]\nalias = two\n")
    try:
        assert aliases() == ["one", "two"]
        assert aliases("--config", usual) == ["one", "two"]
        assert aliases("--config", write(HOME + "/own.ini", "[serve]\nalias = three\n")) == ["three"]
        assert aliases("--config", write(HOME + "/own.ini", "ctx = 300\n")) == ["one", "two"]
        assert aliases("--config", usual, LEAT_ALIAS="four") == ["four"]
    finally:
        os.unlink(usual)


def test_config_errors_name_the_line():
    def complain(text, wanted):
        path = write(HOME + "/bad.ini", text)
        result = expect(leat("plan", MODEL, "--config", path), 2, "")
        assert "leat: error: %s%s" % (path, wanted) in result.err, result.err

    complain("ctx = 300\nspeed = fast\n", ":2: unknown key 'speed'")
    complain("\n[walk]\n", ":2: there is no verb 'walk'")
    complain("[run\n", ":1: a section ends with ]")
    complain("ctx\n", ":1: expected KEY = VALUE")
    complain("ctx = much\n", ":1: ctx: 'much' is not a whole number")
    complain("temp = hot\n", ":1: temp: 'hot' is not a number")  # a key of another verb is checked too
    complain("help = on\n", ":1: unknown key 'help'")
    complain("[info]\ntemp = 1\n", ":2: unknown key 'temp'")
    assert "--config: /nowhere is not a readable file" in expect(leat("plan", MODEL, "--config", "/nowhere"), 2).err


def test_help_works_without_a_good_configuration():
    usual = write(HOME + "/config/leat/config", "speed = fast\n")
    broken = {"LEAT_VERBOSE": "much", "LEAT_COLOR": "blue", "LEAT_CONFIG": "/nowhere"}
    try:
        assert ":1: unknown key 'speed'" in expect(leat("plan", MODEL), 2, "").err
        for words in (("--help",), ("-h",), ("help",), ("help", "run"), ("--version",), ("version", "--json"), ("man", "conf"),
                      ("completions", "bash"), ("plan", "--help")):
            assert expect(leat(*words, env=broken), err="").out
    finally:
        os.unlink(usual)


def as_nobody():
    """What a mode forbids is forbidden to root only when it is another user."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)


def test_unreadable_settings_are_left_out():
    """A file, or its folder, that others keep to themselves; that nobody gets at the program or the model is no part of it."""
    with tempfile.TemporaryDirectory() as room:
        os.chmod(room, 0o755)
        program = shutil.copy(LEAT, room + "/leat")
        path = write(room + "/config/leat/config", "names = on\nspeed = fast\n")
        for closed in (path, os.path.dirname(path)):
            os.chmod(closed, 0)
            env = environment({"XDG_CONFIG_HOME": room + "/config", "HOME": room, "LEAT_MODELS": room, "LD_LIBRARY_PATH": os.path.dirname(LEAT)})
            done = subprocess.run([program, "list"], cwd=room, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                                  preexec_fn=as_nobody)
            os.chmod(closed, 0o700)
            assert done.returncode == 0, done.stderr
            assert "leat: warning: %s is left out: Permission denied\n" % path in done.stderr, done.stderr


# ---- the generated texts ---------------------------------------------------------------------------------------------------------


PAGES = {"leat.1": "leat", "leat-serve.1": "serve", "leat.conf.5": "conf"}


def man_page(word):
    """A page's source, and the same without roff's escapes."""
    page = expect(leat("man", word), err="").out
    return page, page.replace("\\-", "-").replace("\\(dq", '"').replace("\\e", "\\")


def options_of(verb):
    """Long names that `leat help VERB` lists."""
    return re.findall(r"^  (?:-\w, |    )--(?:no-)?([a-z-]+)", expect(leat("help", verb)).out, re.M)


def has_option(page, name):
    return re.search(r"^\\fB.*--%s\\fR" % name, page, re.M)


def test_man_has_every_verb_and_option():
    assert leat("man").out == leat("man", "leat").out
    own = set(options_of("serve")) - {name for verb in verbs() if verb != "serve" for name in options_of(verb)}
    assert {"port", "max-queue"} <= own < set(options_of("serve"))
    page, serve = man_page("leat")[1], man_page("serve")[1]
    for name in verbs():
        assert ".B leat %s" % name in page, name
    for name in options():
        assert bool(has_option(page, name)) == (name not in own), name
    for name in options():
        assert bool(has_option(serve, name)) == (name in options_of("serve")), name
    expect(leat("man", "other"), 2, "", usage_error("leat man: there is no page 'other'", "usage: leat man [leat|serve|conf]"))


def test_man_has_every_exit_code():
    codes = re.findall(r"^  (\d+) ", leat("help", "all").out.split("Exit codes")[1].split("Examples")[0], re.M)
    assert codes == sorted(codes, key=int) and len(codes) > 10
    page = man_page("leat")[1].split(".SH EXIT STATUS")[1].split(".SH")[0]
    assert re.findall(r'^\.B "(\d+)"', page, re.M) == codes
    serve = man_page("serve")[1].split(".SH EXIT STATUS")[1].split(".SH")[0]
    assert set(re.findall(r'^\.B "(\d+)"', serve, re.M)) == {"0", "1", "2", "3", "4", "5", "6", "130", "143"}


def test_man_has_every_endpoint():
    with open(ROOT + "/apps/server/api_routes.c", encoding="utf-8") as file:
        routes = re.findall(r'\{"(\w+)", "([^"]+)", (\w+),', file.read())
    page = man_page("serve")[1].split(".SH ENDPOINTS")[1].split(".SH")[0]
    served = {path for _, path, handler in routes if handler != "route_unsupported"}
    named = set(re.findall(r"/[\w./-]+", " ".join(re.findall(r'^\.B "(.*)"', page, re.M))))
    assert named == {path.replace("*", "ID") for path in served}, named ^ served


def test_man_has_every_signal():
    with open(ROOT + "/apps/server/server_signals.c", encoding="utf-8") as file:
        waited_for = re.findall(r"sigaddset\(&set, (SIG\w+)\)", file.read().split("server_signals_open")[0])
    page = man_page("serve")[1].split(".SH SIGNALS")[1].split(".SH")[0]
    assert waited_for and sorted(re.findall(r"SIG\w+", " ".join(re.findall(r'^\.B "(.*)"', page, re.M)))) == sorted(waited_for)


def test_man_conf_has_every_key():
    page = man_page("conf")[1]
    keys = re.findall(r'^\.B "([a-z-]+) = ', page.split(".SH KEYS")[1], re.M)
    assert sorted(keys) == sorted(set(options()) - {"help", "config"})
    example = page.split(".SH EXAMPLE")[1].split(".nf\n")[1].split(".fi")[0]
    shown = expect(leat("serve", "--print-config", "--config", write(HOME + "/example.ini", example))).out
    for line in ("ram = 12GiB", "alias = qwen3", "max-queue = 4", "model = /srv/models/qwen3-30b"):
        assert "%s  # %s/example.ini" % (line, HOME) in shown, shown


def test_man_conf_words_are_accepted():
    """Words in small letters and numbers stand for themselves; those in capitals stand for what the user puts there."""
    page = man_page("conf")[1].split(".SH KEYS")[1]
    keys = re.findall(r'^\.B "([a-z0-9-]+) = (.*)"', page, re.M)
    literal = [(key, word) for key, words in keys for word in words.split("|") if re.fullmatch("[a-z0-9]+", word)]
    assert {("verbose", "0"), ("verbose", "3"), ("quiet", "on"), ("policy", "belady"), ("seed", "random")} <= set(literal)
    for key, word in literal:
        path = write(HOME + "/words.ini", "%s = %s\n" % (key, word))
        expect(leat("list", "--config", path))


def test_man_pages_are_clean_roff():
    if not shutil.which("groff"):
        skip("groff is not installed")
    for word in PAGES.values():
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=man_page(word)[0], capture_output=True, text=True, env=environment())
        assert done.returncode == 0 and done.stderr == "", (word, done.stderr)


def test_man_accepts_the_pages():
    if not shutil.which("man"):
        skip("man is not installed")
    for name, word in PAGES.items():
        path = write(HOME + "/man/" + name, man_page(word)[0])
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", path], capture_output=True, text=True,
                              env=environment({"MANWIDTH": "80"}))
        assert done.returncode == 0 and done.stderr == "", (word, done.stderr)


def test_mandoc_accepts_the_pages():
    if not shutil.which("mandoc"):
        skip("mandoc is not installed")
    for name, word in PAGES.items():
        done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", write(HOME + "/man/" + name, man_page(word)[0])], capture_output=True, text=True,
                              env=environment())
        complaints = [line for line in done.stdout.splitlines() if "missing date" not in line]  # builds are the same on any day
        assert not complaints, complaints


def test_examples_are_for_their_verbs():
    """What examples name is there: verbs, their options, models."""
    page = man_page("leat")[1].split(".SH EXAMPLES")[1].split(".SH")[0]
    commands = [line for line in re.findall(r'^\.B "(.*)"$', page, re.M) if "leat" in line]
    assert len(commands) > 25
    for command in commands:
        verb, rest = re.search(r"\bleat ([a-z]+)(.*)", command).groups()
        known = options_of(verb)
        for name in re.findall(r"--([a-z-]+)", rest):
            assert name in known, command
        assert "models/" not in command or "models/brook" in command, command


def test_help_ends_with_examples():
    for name, text in verbs().items():
        if name in ("version", "help"):
            continue
        command = text.split("\nExamples\n")[1].splitlines()[0]
        assert re.search(r"\bleat %s\b" % name, command), (name, command)


def test_completions_hold_every_option():
    for shell in ("bash", "zsh", "fish"):
        script = expect(leat("completions", shell), err="").out
        for name in options():
            pattern = "-l %s " % name if shell == "fish" else "--%s" % name
            assert pattern in script, (shell, name)
        for name in verbs():
            assert re.search(r"\b%s\b" % name, script), (shell, name)
    expect(leat("completions", "tcsh"), 2, "", usage_error("leat completions: unknown shell tcsh", "usage: leat completions bash|zsh|fish"))
    assert expect(leat("completions"), 2, "").err.startswith("leat: error: leat completions: which shell?")


def test_completions_work_in_bash():
    if not shutil.which("bash"):
        skip("bash is not installed")
    path = write(HOME + "/leat.bash", leat("completions", "bash").out)

    def complete(*words):
        script = 'leat() { "%s" "$@"; }; source %s; COMP_WORDS=(%s); COMP_CWORD=%d; _leat; printf "%%s\\n" "${COMPREPLY[@]}"' % (
            LEAT, path, " ".join("'%s'" % word for word in words), len(words) - 1)
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment({"LEAT_MODELS": ROOT + "/models"}), cwd=HOME)
        assert done.stderr == "", done.stderr
        return done.stdout.splitlines() if done.stdout.strip() else []

    assert complete("leat", "ch") == ["chat", "check"]
    assert sorted(complete("leat", "run", "--te")) == ["--temp", "--temperature", "--template"]
    assert complete("leat", "run", "--isa", "avx") == ["avx2", "avx512"]
    assert "brook" in complete("leat", "run", "br")
    assert complete("leat", "completions", "f") == ["fish"]
    assert complete("leat", "man", "s") == ["serve"]
    assert complete("leat", "se") == ["serve"] and "brook" in complete("leat", "serve", "br")
    assert complete("leat", "serve", "--sandbox", "s") == ["strict"]
    assert complete("leat", "serve", "--api-key-file", ROOT + "/READ") == [ROOT + "/README.md"]
    spaced = write(HOME + "/a file", "")
    for words in (("replay",), ("audit",), ("audit", spaced), ("parse", "--batch"), ("template",), ("eval", "brook"), ("pack", "brook"),
                  ("chat", "--load"), ("run", "--tools")):
        assert complete("leat", *words, HOME + "/a f") == [spaced], words
    assert complete("leat", "version", ROOT + "/READ") == [] and "brook" in complete("leat", "template", "br")
    offered = complete("leat", "serve", "-")
    assert {"--" + name for name in options_of("serve")} <= set(offered) and "--temp" not in offered


def test_completions_offer_files():
    """Where the help says FILE, every shell offers files."""
    bash, zsh, fish = (leat("completions", shell).out for shell in ("bash", "zsh", "fish"))
    named = re.findall(r"^  (?:-\w, |    )--([a-z-]+) \S*FILE", leat("help", "all").out, re.M)
    assert {"tools", "load", "stats", "logits"} <= set(named)
    for name in named:
        assert re.search(r"^    --%s\b.*\) _leat_files; return" % name, bash, re.M), name
        assert re.search(r"'\*--%s\[.*\]:value:_files'" % name, zsh), name
        assert re.search(r" -l %s .*-r -d" % name, fish) and not re.search(r" -l %s .*-x -d" % name, fish), name
    taking = [name for name, text in verbs().items() if re.search(r"FILE|FOLDER", text.splitlines()[0])]
    assert {"audit", "replay", "parse", "template", "eval", "pack"} <= set(taking)
    for name in taking:
        assert re.search(r"^    %s\)\n.*else.* _leat_files; fi" % name, bash, re.M), name
        assert "_files" in zsh.split("\n    %s)\n" % name)[1].split(";;")[0].splitlines()[-1], name
        assert "from %s' -f -a" % name not in fish, name


def test_completions_parse():
    for shell in ("zsh", "fish"):
        if not shutil.which(shell):
            continue
        path = write(HOME + "/leat." + shell, leat("completions", shell).out)
        done = subprocess.run([shell, "-n", path], capture_output=True, text=True, env=environment())
        assert done.returncode == 0, done.stderr
    if not shutil.which("zsh") and not shutil.which("fish"):
        skip("neither zsh nor fish is installed")


# ---- looking at models -------------------------------------------------------------------------------------------------------------


def test_version():
    assert re.fullmatch(r"leat \d+\.\d+\.\d+\n", expect(leat("version"), err="").out)
    assert leat("--version").out == leat("version").out == leat("-V").out
    found = json.loads(expect(leat("version", "--json")).out)
    assert found["schema"] == "leat.version/1" and "scalar" in found["instruction_sets"]
    assert re.fullmatch(r"[0-9a-f]{12}(-dirty)?|unknown", found["commit"]), found


def test_info():
    found = json.loads(expect(leat("info", MODEL, "--json"), err="").out)
    assert found["schema"] == "leat.info/1" and found["architecture"] == "gemma4" and found["expert_count"] == 40
    assert found["trunk_bytes"] + found["expert_bytes"] + found["on_demand_bytes"] == found["weight_bytes"]
    assert sum(w["bytes"] for w in found["weights"] if w["place"] == "streamed") == found["expert_bytes"]
    assert 0 < sum(w["bytes"] for w in found["weights"] if w["place"] == "resident") <= found["trunk_bytes"]
    assert "architecture  gemma4" in expect(leat("info", MODEL), err="").out


def test_errors_of_models_name_the_folder():
    """Of a model that was given by a part of its name, too: what is wrong with it says only which file."""
    folder = copy_model("wrong-model", "config.json", "model.safetensors")
    with open(folder + "/config.json", encoding="utf-8") as file:
        config = json.load(file)
    (config.get("text_config") or config)["num_attention_heads"] = -1
    os.unlink(folder + "/config.json")
    write(folder + "/config.json", json.dumps(config))
    result = expect(leat("info", "wrong-mod", env={"LEAT_MODELS": os.path.dirname(folder)}), 3, "")
    assert re.fullmatch(r"leat: error: config.json: num_attention_heads is -1.*\nhint: the folder is %s\n" % re.escape(folder), result.err), result
    shutil.rmtree(folder)


def test_model_ways():
    assert expect(leat("info", "-m", MODEL)).out == expect(leat("info", MODEL)).out
    where = {"LEAT_MODELS": ROOT + "/models"}
    assert json.loads(expect(leat("info", "BROO", "--json", env=where)).out)["architecture"] == "gemma4"
    two = HOME + "/two"
    for name in ("brook-a", "brook-b"):
        os.makedirs(two, exist_ok=True)
        if not os.path.islink(two + "/" + name):
            os.symlink(os.path.join(ROOT, MODEL), two + "/" + name)
    expect(leat("info", "brook", env={"LEAT_MODELS": two}), 2, "", usage_error("'brook' may mean any of brook-a, brook-b", "give more of the name"))


def test_list():
    where = {"LEAT_MODELS": ROOT + "/models"}
    assert expect(leat("list", "--names", env=where), err="").out == "brook\n"
    found = json.loads(expect(leat("list", "--json", env=where)).out)
    assert found["schema"] == "leat.list/1" and found["models"][0]["name"] == "brook" and found["models"][0]["floor_bytes"] > 0
    assert "brook" in expect(leat("list", env=where)).out
    expect(leat("list"), 0, "", "no models in the Hugging Face cache or in $LEAT_MODELS\n")
    bad = HOME + "/bad-models"
    write(bad + "/broken/config.json", "{")
    assert "cannot be used" in expect(leat("list", env={"LEAT_MODELS": bad})).out


def test_list_finds_the_cache():
    commit = "0123456789abcdef0123456789abcdef01234567"
    hub = HOME + "/hub/models--some-org--brook-mini"
    write(hub + "/refs/main", commit)
    if not os.path.isdir(hub + "/snapshots"):
        shutil.copytree(os.path.join(ROOT, MODEL), hub + "/snapshots/" + commit)
    where = {"HF_HUB_CACHE": HOME + "/hub"}
    for same in (where, {"HF_HUB_CACHE": "~/hub"}, {"HF_HOME": "~/"}, {"HUGGINGFACE_HUB_CACHE": "~/hub", "HF_HOME": "/nowhere"}):
        assert expect(leat("list", "--names", env=same)).out == "some-org/brook-mini\n", same
        assert json.loads(expect(leat("info", "some-org/brook-mini", "--json", env=same)).out)["architecture"] == "gemma4", same
    assert json.loads(expect(leat("info", "brook-mini", "--json", env=where)).out)["architecture"] == "gemma4"


def test_plan():
    found = plan()
    assert found["schema"] == "leat.plan/1" and found["fits"] is True
    assert sum(found["parts"].values()) == found["budget_bytes"]
    budgets = [row["budget_bytes"] for row in found["budgets"]]
    assert budgets == sorted(budgets) and budgets[0] == found["floor_bytes"] and budgets[-1] == found["everything_bytes"]
    resident = [row["resident_expert_fraction"] for row in found["budgets"]]
    assert resident == sorted(resident) and resident[-1] == 1
    assert found["budgets"][-1]["even_use_read_bytes_per_token"] == 0
    assert "floor" in expect(leat("plan", MODEL), err="").out


# ---- what runs learn, forecasts, pareto --------------------------------------------------------------------------------------


def own_cache(name):
    """An environment with an empty cache folder of its own, and what leat will keep there."""
    folder = HOME + "/" + name
    shutil.rmtree(folder, ignore_errors=True)
    return {"XDG_CACHE_HOME": folder}, folder + "/leat"


def kept(folder, kind):
    return sorted(folder + "/" + name for name in os.listdir(folder) if name.startswith(kind)) if os.path.isdir(folder) else []


def learn(env, count, *args):
    return expect(leat("run", MODEL, SUM, *FAST, "--ignore-eos", "-n", str(count), *args, env=env))


def test_plan_predicts():
    env, folder = own_cache("plan-cache")
    unknown = plan("--probe", "off", env=env)
    assert unknown["basis"]["compute"] == "unknown" and unknown["budgets"][0]["predicted"]["tokens_per_s"] is None
    assert not kept(folder, "drive-")
    found = plan("--probe", "auto", env=env)
    assert found["basis"] | {"hits": "default", "io": "measured", "compute": "measured"} == found["basis"]
    assert found["basis"]["drive_bytes_per_s"] > 0 and len(kept(folder, "drive-")) == 1
    rows = [row["predicted"] for row in found["budgets"]]
    assert all(row["tokens_per_s"] > 0 and row["prompt_s"] > 0 for row in rows)
    assert rows[-1]["hit_rate"] == 1 and rows[-1]["read_bytes_per_token"] == 0
    read = [row["read_bytes_per_token"] for row in rows]
    assert read == sorted(read, reverse=True) and read[0] > 0
    for row in rows:
        slowest = max(row["io_s"], row["compute_s"] + row["expert_wait_s"])
        assert abs(row["tokens_per_s"] * slowest - 1) < 1e-3
    # The drive's figures are used again, until somebody wants new ones.
    drive = kept(folder, "drive-")[0]
    changed = json.load(open(drive)) | {"direct_record_bytes_per_s": 123456789, "buffered_record_bytes_per_s": 123456789}
    write(drive, json.dumps(changed))
    assert plan("--probe", "off", env=env)["basis"]["drive_bytes_per_s"] == 123456789
    assert plan("--probe", "auto", env=env)["basis"]["drive_bytes_per_s"] == 123456789
    assert plan("--probe", "again", env=env)["basis"]["drive_bytes_per_s"] != 123456789
    expect(leat("plan", MODEL, env=env | {"XDG_CACHE_HOME": "/proc/nowhere"}), 0)  # nothing can be kept there


def test_reads_go_the_faster_way():
    """Kept figures decide how files are read, and everything that speaks of it says the same."""
    env, folder = own_cache("way-cache")
    run = lambda *args: json.loads(expect(leat("run", MODEL, SUM, *FAST, "--ignore-eos", "-n", "20", "--ram", "96M", "--json", *args, env=env)).out)
    first = run()
    assert first["io"]["is_measured"] is False  # nothing is known, and opening waits for no probe
    possible, count = first["io"]["direct_files"], first["io"]["direct_files"] + first["io"]["buffered_files"]
    assert count > 0 and first["io"]["is_direct"] == (possible == count)
    drive, = kept(folder, "drive-")  # what the end of the run has found; its budget had room for that
    assert json.load(open(drive))["buffered_record_bytes_per_s"] >= 0
    for factor, direct in ((1.2, possible), (2, 0)):
        write(drive, json.dumps(json.load(open(drive)) | {"direct_record_bytes_per_s": 1e9, "direct_part_bytes_per_s": 1e9,
                                "buffered_record_bytes_per_s": factor * 1e9, "buffered_part_bytes_per_s": factor * 1e9}))
        found, planned = run(), plan("--probe", "off", env=env)
        files = {"direct_files": direct, "buffered_files": count - direct, "is_measured": True}
        assert found["io"] | files == found["io"] and planned["io"] == files and found["text"] == first["text"]
        assert found["io"]["is_direct"] is (direct == count)
        way = "buffered" if direct == 0 else "direct"
        assert "reads    %s, measured\n" % way in expect(leat("plan", MODEL, "--probe", "off", env=env)).out
        assert ", %s, measured, " % way in expect(leat("run", MODEL, SUM, *FAST, "-n", "2", "-v", env=env)).err
        assert planned["basis"]["drive_bytes_per_s"] == (1e9 if direct else factor * 1e9) or possible == 0
    # Without the folder, and where a way is asked for, figures count for nothing.
    unknown = run("--profile", "off")["io"]
    assert unknown["direct_files"] == possible and unknown["is_measured"] is False
    assert run("--io", "buffered")["io"]["buffered_files"] == count
    if possible == count:
        assert run("--io", "direct")["io"]["direct_files"] == count


def test_plan_says_when_one_token_does_not_fit():
    floor = plan("--probe", "off")["floor_bytes"]
    small = plan("--probe", "off", "--ram", str(floor))
    assert small["below_one_token"] is True and small["budgets"][0]["below_one_token"] is True
    assert plan("--probe", "off")["below_one_token"] is False
    assert "but one token uses" in expect(leat("plan", MODEL, "--ram", str(floor), "--probe", "off")).out
    assert "one token uses" not in expect(leat("plan", MODEL, "--probe", "off", "--ram", str(plan("--probe", "off")["everything_bytes"]))).out.split("\n\n")[0]
    result = expect(leat("run", MODEL, SUM, *FAST, "-n", "2", "--ram", str(plan("--ctx", "256")["floor_bytes"])))
    assert "one token uses" in result.err


def test_a_chat_warms_the_cache():
    """What earlier runs used is read while the first question is being typed."""
    env, folder = own_cache("warm-cache")
    learn(env, 40)
    answers = []
    for mode, pause in (("off", 0), ("auto", 0.3), ("auto", 2), ("auto", 8)):
        process = subprocess.Popen([LEAT, "chat", MODEL, *FAST, "-v", "--ram", "40M", "--warm-start", mode], cwd=ROOT, env=environment(env),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        time.sleep(pause)  # somebody types; how far it gets is not of interest
        out, err = process.communicate((SUM + "\n").encode(), timeout=60)
        assert process.returncode == 0, err
        answers.append(out)
        warmed = re.search(rb"warm start (\d+) experts", err)
        assert mode == "auto" or not warmed, err
        if warmed:
            break
    else:
        assert False, "nothing was read in 8 s"
    assert len(set(answers)) == 1, answers
    assert leat("run", MODEL, SUM, *FAST, "--warm-start", "on", env=env).out == leat("run", MODEL, SUM, *FAST, "--warm-start", "off", env=env).out


def test_runs_teach_the_forecast():
    env, folder = own_cache("profile-cache")
    learn(env, 8)
    learn(env, 40, "--profile", "off")
    assert not kept(folder, "profile-")  # too short; not wanted
    text = learn(env, 40).out
    path, = kept(folder, "profile-")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    found = json.load(open(path))
    assert found["decode"]["token_count"] == 39 and len(found["sample"]) == 39
    learned = plan("--probe", "off", env=env)
    assert learned["basis"]["compute"] == "profile" and learned["basis"]["hits"] == "profile"
    assert learned["basis"]["sample_token_count"] == 39
    expected = found["decode"]["compute_s"] / found["decode"]["token_count"]
    assert abs(learned["budgets"][-1]["predicted"]["compute_s"] / expected - 1) < 1e-6
    assert plan("--probe", "off", "--profile", "off", env=env)["basis"]["compute"] == "unknown"
    # Another number of threads computes at another speed; the routing is the same.
    other = plan("--probe", "off", "--threads", "1" if found["thread_count"] != 1 else "2", env=env)["basis"]
    assert other["compute"] == "unknown" and other["hits"] == "profile"
    # Enough tokens, and policies are chosen. The answer is that of any other policy.
    assert found["choices"] == [] and learn(env, 40).out == text
    choices = json.load(open(path))["choices"]
    assert len(choices) >= 4
    slots = learned["budgets"][2]["expert_slot_count"]
    write(path, json.dumps(json.load(open(path)) | {"choices": [[slots, "s3fifo"]]}))
    assert plan("--probe", "off", env=env)["cache_policy"] == "s3fifo"
    assert plan("--probe", "off", "--cache-policy", "slru", env=env)["cache_policy"] == "slru"
    result = json.loads(expect(leat("run", MODEL, SUM, *FAST, "--ignore-eos", "-n", "40", "--json", env=env)).out)
    assert result["memory"]["cache_policy"] == "s3fifo" and result["text"].strip() == text.strip()
    # What is damaged counts for nothing, hurts nobody and is replaced.
    write(path, open(path).read()[:5000])
    assert plan("--probe", "off", env=env)["basis"]["hits"] == "default"
    assert learn(env, 40).out == text
    assert len(json.load(open(path))["sample"]) == 39


def pareto(*args, **more):
    found = json.loads(expect(leat("pareto", MODEL, "--json", "--ctx", "256", *args, **more)).out)
    assert found["schema"] == "leat.pareto/1"
    return found


def test_pareto():
    env, _ = own_cache("pareto-cache")
    found = pareto("--points", "5", env=env)
    ends = plan("--ctx", "256", "--probe", "off")
    budgets = [row["budget_bytes"] for row in found["rows"]]
    assert len(budgets) == 20 and budgets == sorted(budgets) and len(set(budgets)) == 5
    assert (budgets[0], budgets[-1]) == (ends["floor_bytes"], ends["everything_bytes"])
    factors = [b / a for a, b in zip(sorted(set(budgets)), sorted(set(budgets))[1:])]
    assert max(factors) / min(factors) < 1.001
    assert {row["cache_policy"] for row in found["rows"]} == {"lru", "lfu", "slru", "s3fifo"}
    assert sum(row["is_auto"] for row in found["rows"]) == 5
    assert all(row["predicted"]["tokens_per_s"] > 0 and row["measured"]["tokens_per_s"] is None for row in found["rows"])
    assert len(pareto("--points", "3", "--policy", "slru", env=env)["rows"]) == 3
    below = pareto("--points", "2", "--policy", "lru", "--ram", str(2 * ends["floor_bytes"] // 2 + 4000000), env=env)["rows"]
    assert below[-1]["budget_bytes"] == ends["floor_bytes"] + 4000000
    lines = expect(leat("pareto", MODEL, "--csv", "--points", "2", env=env)).out.splitlines()
    assert len(lines) == 9 and len({line.count(",") for line in lines}) == 1
    assert "tok/s" in expect(leat("pareto", MODEL, "--points", "2", env=env)).out
    expect(leat("pareto", MODEL, "--policy", "belady"), 2, "")
    expect(leat("pareto", MODEL, "--json", "--csv"), 2, "")
    expect(leat("pareto", MODEL, "-n", "9"), 2, "")
    expect(leat("pareto", MODEL, "--ram", "1M"), 4, "")
    expect(leat("pareto", MODEL, "--svg", "/nowhere/a.svg"), 5)


def test_pareto_measures():
    import xml.etree.ElementTree as xml
    env, folder = own_cache("measure-cache")
    learn(env, 80)
    before = open(kept(folder, "profile-")[0]).read()
    drawn = HOME + "/curve.svg"
    found = pareto("--points", "3", "--measure", "-n", "24", "--tokens", "5,6,7", "--svg", drawn, env=env)
    assert (found["warm_token_count"], found["token_count"]) == (12, 12)
    for row in found["rows"]:
        is_measured = row["measured"]["tokens_per_s"] is not None
        assert is_measured == row["is_auto"] and (not is_measured or 0 <= row["measured"]["hit_rate"] <= 1)
    assert open(kept(folder, "profile-")[0]).read() == before  # what it measures is not learned
    paths = [node.get("class") for node in xml.parse(drawn).getroot().iter("{http://www.w3.org/2000/svg}path")]
    assert paths.count("c0") == 2 and paths.count("c1") == 2 and "a" in paths
    one = pareto("--points", "2", "--measure", "-n", "8", "--policy", "s3fifo", env=env)["rows"]
    assert all(row["measured"]["tokens_per_s"] > 0 for row in one)


def test_profile():
    env, folder = own_cache("profile-cache")

    def profile(*args):
        found = json.loads(expect(leat("profile", MODEL, "--json", *args, env=env)).out)
        assert found["schema"] == "leat.profile/1"
        return found

    assert not profile()["is_known"] and not profile("--forget")["is_forgotten"]
    assert expect(leat("profile", MODEL, env=env), out="").err == "no run has learned anything about this model yet\n"
    floor = plan("--ctx", "256")["floor_bytes"]
    learn(env, 72, "--ram", str(floor), "-t", "2")
    path = kept(folder, "profile-")[0]
    found, stored = profile(), json.load(open(path))
    assert (found["path"], found["file_bytes"], found["thread_count"], found["isa"]) == (path, os.path.getsize(path), 2, stored["isa"])
    assert found["decode"]["token_count"] == stored["decode"]["token_count"] > 64 and found["prefill"]["token_count"] > 0
    for phase in ("decode", "prefill"):
        count = stored[phase]["token_count"]
        assert abs(found[phase]["compute_s_per_token"] * count / stored[phase]["compute_s"] - 1) < 1e-6
        assert abs(found[phase]["read_bytes_per_token"] * count / stored[phase]["read_bytes"] - 1) < 1e-6 and found[phase]["wait_s_per_token"] > 0
    uses = sorted(stored["uses"], reverse=True)
    assert abs(found["busiest_quarter_share"] - sum(uses[:(len(uses) + 3) // 4]) / sum(uses)) < 1e-6
    assert found["sample_token_count"] == len(stored["sample"])
    assert [[choice["slot_count"], choice["cache_policy"]] for choice in found["choices"]] == stored["choices"] != []
    shown = expect(leat("profile", MODEL, env=env)).out
    assert path in shown and "2 threads, " in shown and "decoded" in shown and "busiest" in shown, shown
    assert os.path.exists(path) and profile("--forget")["is_forgotten"] and not os.path.exists(path) and not profile()["is_known"]
    write(path, "{")  # damaged: nothing is known, and that too can be forgotten
    assert not profile()["is_known"]
    expect(leat("profile", MODEL, "--forget", env=env))
    assert not os.path.exists(path)


def test_bench():
    env, folder = own_cache("bench-cache")
    learn(env, 40)
    profile = open(kept(folder, "profile-")[0]).read()
    floor = plan("--ctx", "256")["floor_bytes"]
    found = json.loads(expect(leat("bench", MODEL, "--json", "--ram", str(floor), "--ctx", "256", "--prompt-tokens", "40", "-n", "20", "--runs", "2",
                                   env=env)).out)
    assert found["schema"] == "leat.bench/1" and (found["prompt_token_count"], found["token_count"], len(found["runs"])) == (40, 20, 2)
    assert found["memory"]["budget_bytes"] == floor
    for run in found["runs"]:
        for part, count in (("prefill", 40), ("decode", 20)):
            assert abs(run[part + "_tokens_per_s"] * run[part + "_s"] / count - 1) < 1e-6, run
        assert 0 < run["decode_p50_s"] <= run["decode_p95_s"] <= run["decode_s"]
        assert 0 < run["decode_hit_rate"] < 1 and run["decode_read_bytes_per_token"] > 0 and run["prefill_read_bytes"] > 0
    for part in ("prefill", "decode"):
        key = part + "_tokens_per_s"
        assert found["median"][key] == min(run[key] for run in found["runs"])
    assert open(kept(folder, "profile-")[0]).read() == profile  # its tokens are nobody's text
    # With room for everything a second run computes all of it again, and reads no expert: of each token the embedding's row, in three tensors
    # of which it reads two blocks at most, until the embedding is there; how soon that is, is the machine's.
    again = json.loads(expect(leat("bench", MODEL, "--json", "--tokens", "5,6,7", "-n", "8", "--runs", "3", env=env)).out)
    assert again["prompt_token_count"] == 3 and len(again["runs"]) == 3
    assert again["runs"][-1]["decode_hit_rate"] == 1 and again["runs"][-1]["decode_read_bytes_per_token"] <= 3 * 2 * 4096, again["runs"]
    lines = expect(leat("bench", MODEL, "--prompt-tokens", "8", "-n", "4", env=env)).out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "1", "2", "3", "median", "A"]
    assert "leat bench needs a MODEL" in expect(leat("bench"), 2, "").err
    expect(leat("bench", MODEL, "-n", "none"), 2, "", usage_error("--max-tokens: expected 1 to 1048576"))
    expect(leat("bench", MODEL, "--tokens", "1", "--prompt-tokens", "2"), 2, "")
    assert "528 tokens do not fit the context of 256" in expect(leat("bench", MODEL, "--ctx", "256", "-n", "16"), 7, "").err


def test_budget_below_the_floor():
    floor = plan()["floor_bytes"]
    result = leat("plan", MODEL, "--json", "--ram", str(floor - 1))
    assert result.code == 4 and json.loads(result.out)["fits"] is False, result
    assert "leat: error: " in result.err
    expect(leat("run", MODEL, "x", "--ram", "1M"), 4, "")
    expect(leat("plan", MODEL, "--ram", str(floor)), 0)


def test_budget_above_the_machine():
    expect(leat("plan", MODEL, "--ram", "4096T"), 4)
    expect(leat("plan", MODEL, "--ram", "4096T", "--force"), 0)


def test_check():
    found = json.loads(expect(leat("check", MODEL, "--json")).out)
    assert found["is_sound"] is True and found["checked_bytes"] >= os.path.getsize(os.path.join(ROOT, MODEL, "model.safetensors"))
    assert expect(leat("check", MODEL)).out.startswith("sound: ")


def copy_model(name, *files):
    folder = os.path.join(HOME, name)
    os.makedirs(folder)
    for file in files or sorted(os.listdir(os.path.join(ROOT, MODEL))):
        shutil.copy(os.path.join(ROOT, MODEL, file), folder)
    return folder


def test_pack():
    folder = HOME + "/packed"
    found = json.loads(expect(leat("pack", MODEL, folder, "--json"), err="").out)
    assert found["schema"] == "leat.pack/1" and found["record_count"] == 360 and found["kept_bytes"] == 0
    assert sorted(os.listdir(folder)) == sorted(["leat-pack.json", "model-00001-of-00001.safetensors", "model.safetensors.index.json"] + [
        name for name in os.listdir(os.path.join(ROOT, MODEL)) if not name.startswith("model.")])
    assert not os.path.exists(folder + ".unfinished")
    assert expect(leat("check", folder)).out.startswith("sound: ")
    expect(leat("pack", MODEL, folder), 2, "",
           usage_error(folder + ": exists already; a pack never overwrites", "remove it, or give another folder"))
    # The same text and logits, in one read an expert.
    reads = {}
    for model in (MODEL, folder):
        result = json.loads(expect(leat("run", model, SUM, *FAST, "--ram", "28M", "--look-ahead", "off", "--json")).out)
        before = json.loads(expect(leat("run", model, SUM, *FAST, "--ram", "28M", "--look-ahead", "off", "--json", "-n", "1")).out)
        assert result["text"] == SUM_ANSWER
        misses = result["experts"]["misses"] - before["experts"]["misses"]
        reads[model] = result["io"]["read_count"] - before["io"]["read_count"], misses
        path = "%s/%d.npy" % (HOME, model == MODEL)
        expect(leat("eval", model, "--prompt", SUM, "--logits", path))
    assert open(HOME + "/0.npy", "rb").read() == open(HOME + "/1.npy", "rb").read()
    assert reads[folder][1] > 0 and reads[folder][0] == reads[folder][1], reads
    assert reads[MODEL][0] == 9 * reads[MODEL][1], reads
    with open(folder + "/model-00001-of-00001.safetensors", "r+b") as f:
        f.seek(-10, os.SEEK_END)
        f.write(b"\1")
    assert "damaged" in expect(leat("check", folder), 3, "").err
    shutil.rmtree(folder)


def test_pack_usage():
    expect(leat("pack"), 2)
    expect(leat("pack", MODEL), 2, "", usage_error("leat pack: which folder should the pack be written to?", "usage: leat pack MODEL FOLDER"))
    assert "unexpected argument" in expect(leat("pack", MODEL, "a", "b"), 2, "").err
    assert "no-such" in expect(leat("pack", MODEL, HOME + "/no-such/folder"), 5, "").err
    expect(leat("pack", HOME + "/nothing", HOME + "/packed"), 3)


def test_pack_goes_on_after_a_kill():
    folder = HOME + "/killed"
    for after in (0.02, 0.05, 0.1, 0.2):
        process = subprocess.Popen([LEAT, "pack", MODEL, folder], cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        time.sleep(after)
        process.kill()
        process.wait()
        if os.path.exists(folder):  # then it is whole
            break
    else:
        expect(leat("pack", MODEL, folder))
    assert not os.path.exists(folder + ".unfinished")
    assert expect(leat("check", folder)).out.startswith("sound: ")
    shutil.rmtree(folder)


def test_check_finds_damage():
    folder = copy_model("cut")
    path = folder + "/model.safetensors"
    os.truncate(path, os.path.getsize(path) - 100)
    result = expect(leat("check", folder), 3, "")
    assert "model.safetensors" in result.err, result.err
    shutil.rmtree(folder)
    folder = copy_model("badtok")
    write(folder + "/tokenizer.json", "{\"model\": 1}")
    assert "tokenizer" in expect(leat("check", folder), 3, "").err
    assert "tokenizer" in expect(leat("run", folder, "--tokens", "2,3", "-n", "1"), 3, "").err
    shutil.rmtree(folder)


# ---- tokens --------------------------------------------------------------------------------------------------------------------------


def test_tokenize_and_back():
    ids = expect(leat("tokenize", MODEL, "Tell me a story.", "--no-post-process"), err="").out
    assert re.fullmatch(r"\d+(,\d+)*\n", ids), ids
    expect(leat("detokenize", MODEL, ids.strip()), 0, "Tell me a story.", "")
    expect(leat("detokenize", MODEL, stdin=ids), 0, "Tell me a story.", "")
    expect(leat("detokenize", MODEL, "--tokens", ids), 0, "Tell me a story.", "")
    assert leat("tokenize", MODEL, "--no-post-process", stdin="Tell me a story.").out == ids
    assert leat("tokenize", MODEL, "--no-post-process", "-f", write(HOME + "/story", "Tell me a story.")).out == ids
    found = json.loads(expect(leat("tokenize", MODEL, "Tell me", "--json")).out)
    assert len(found["ids"]) == len(found["tokens"])


def test_special_tokens():
    with_special = expect(leat("tokenize", MODEL, "<turn|>", "--no-post-process")).out
    assert with_special == "13\n", with_special
    assert len(expect(leat("tokenize", MODEL, "<turn|>", "--no-post-process", "--no-special")).out.split(",")) > 1
    expect(leat("detokenize", MODEL, "13"), 0, "<turn|>")
    expect(leat("detokenize", MODEL, "13", "--no-special"), 0, "")


def test_bad_ids():
    expect(leat("detokenize", MODEL, "1,x"), 2, "", usage_error("token ids: at byte 2: expected token ids separated by commas or white space"))
    expect(leat("run", MODEL, "--tokens", "1;2"), 2, "", usage_error("--tokens: at byte 0: expected token ids separated by commas or white space"))
    expect(leat("run", MODEL, "--tokens", "4294967296"), 2, "")
    expect(leat("run", MODEL, "--tokens", ","), 2, "", usage_error("--tokens: there are none"))
    # Said before any weight is read: there is no account of the memory before it.
    expect(leat("run", MODEL, "--tokens", "4096", "-n", "1"), 2, "", usage_error("--tokens: token 0 has the id 4096, the vocabulary ends at 4095"))
    expect(leat("eval", MODEL, "--tokens", "2,4096"), 2, "", usage_error("--tokens: token 1 has the id 4096, the vocabulary ends at 4095"))
    expect(leat("detokenize", MODEL, "1 99999"), 2, "", usage_error("token ids: token 1 has the id 99999, which the tokenizer does not know"))


def test_batch():
    unknown = expect(leat("detokenize", MODEL, "--batch", stdin='{"ids": [99999]}\n')).out
    assert "99999" in json.loads(unknown)["error"]["message"], unknown
    rows = [{"text": "Hello!", "special": False}, {"ids": [1]}, {"text": 5}, {"text": "caf\u00e9\n\"x\"\u2028\u0085"}]
    result = expect(leat("tokenize", MODEL, "--batch", stdin="".join(json.dumps(row) + "\n" for row in rows) + "nonsense\n"))
    found = [json.loads(line) for line in result.out.splitlines()]
    assert len(found) == 5 and "ids" in found[0] and "ids" in found[3]
    assert all("error" in found[i] and found[i]["error"]["message"] for i in (1, 2, 4)), found
    back = expect(leat("detokenize", MODEL, "--batch", stdin=json.dumps({"ids": found[3]["ids"], "skip_special": True}) + "\n"))
    assert json.loads(back.out) == {"text": rows[3]["text"]}, back


def test_parse():
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"properties": {"a": {"type": "integer"}}}}}]
    call = "<tool_call>\n<function=add>\n<parameter=a>\n2\n</parameter>\n</function>\n</tool_call>"
    rows = [
        {"format": "qwen3_coder", "text": "Hm.\n</think>\n\nSo:\n\n" + call, "tools": tools, "prompt": "assistant\n<think>\n"},
        {"template": "x <tool_call>\n<function= y", "text": call},
        {"format": "hermes", "text": "caf\u00e9 <b>", "cuts": [4, 6], "events": True},
        {"text": "no format"},
        {"format": "hermes", "text": "x", "tools": {}},
        {"format": "hermes", "text": "x", "cuts": [2, 1]},
    ]
    result = expect(leat("parse", "--batch", stdin="".join(json.dumps(row) + "\n" for row in rows) + "nonsense\n"))
    found = [json.loads(line) for line in result.out.splitlines()]
    assert found[0] == {"format": "qwen3_coder", "message": {"role": "assistant", "content": "So:", "reasoning_content": "Hm.", "tool_calls": [
        {"type": "function", "function": {"name": "add", "arguments": "{\"a\": 2}"}}]}}, found[0]
    assert found[1]["format"] == "qwen3_coder" and found[1]["message"] == {"role": "assistant", "content": call}, found[1]
    assert [event["content"] for event in found[2]["events"]] == ["caf", "\u00e9 ", "<b>"], found[2]
    assert len(found) == 7 and all(row["error"]["message"] for row in found[3:]), found[3:]
    refused = expect(leat("parse"), 2, "")
    assert refused.err.startswith(usage_error("leat parse reads lines of JSON")) and "--batch" in refused.err, refused

# ---- template ------------------------------------------------------------------------------------------------------------------------


TALK = {"messages": [{"role": "user", "content": "Hi <turn|>"}]}


def test_template_of_a_model():
    case = write(HOME + "/case.json", json.dumps(TALK))
    shown = expect(leat("template", MODEL, "--chat", case))
    assert shown.out == "<bos><|turn>user\nHi <turn|><turn|>\n<|turn>model\n", shown
    assert re.fullmatch(r"\d+ tokens\n", shown.err), shown
    found = json.loads(expect(leat("template", MODEL, "--chat", "-", "--json", stdin=json.dumps(TALK))).out)
    assert found["schema"] == "leat.template/1" and found["rendered"] == shown.out and found["tokens"].count(13) == 1, found
    itself = expect(leat("template", MODEL), err="chat_template.jinja\n").out
    with open(os.path.join(ROOT, MODEL, "chat_template.jinja"), encoding="utf-8") as stream:
        assert itself == stream.read()


def test_template_of_a_file():
    template = write(HOME + "/own.jinja", "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ x }}")
    case = write(HOME + "/case.json", json.dumps({**TALK, "kwargs": {"x": 3}}))
    assert expect(leat("template", template, "--chat", case), err="").out == "<user>Hi <turn|>3"
    assert expect(leat("template", MODEL, "--template", template, "--chat", case)).out == "<bos><user>Hi <turn|>3"
    context = write(HOME + "/context.json", json.dumps({"context": {"messages": [], "x": [1.5, "a"]}}))
    assert expect(leat("template", template, "--chat", context)).out == "[1.5, 'a']"
    expect(leat("template", template), 2, "", usage_error("%s: --chat FILE names the conversation" % template))
    expect(leat("template", template, "--template", template, "--chat", case), 2, "")
    raises = write(HOME + "/raises.jinja", "{{ raise_exception('not so') }}")
    expect(leat("template", raises, "--chat", case), 2, "", usage_error("not so"))
    broken = write(HOME + "/broken.jinja", "{% if %}")
    assert leat("template", broken, "--chat", case).code == 3
    assert leat("template", MODEL, "--template", broken, "--chat", case).code == 3


def test_template_batch():
    path = write(HOME + "/own.jinja", "file {{ x }}")
    rows = [{"template": "{{ x + 1 }}", "context": {"x": 41}}, {"template_file": path, "context": {"x": "\u20ac\n"}},
            {"template": "{{ raise_exception('no') }}", "context": {}}, {"template": "{{", "context": {}},
            {"template": "{{ messages[0].content }}{{ strftime_now('%Y') }}", "chat": TALK, "now": "2031-01-02T03:04:05"},
            {"context": {}}, {"template": "x", "chat": {"messages": []}}, {"template": "{{ 1 / 0 }}", "context": {}},
            {"template_file": HOME + "/none", "context": {}}]
    lines = "".join(json.dumps(row) + "\n" for row in rows) + "nonsense\n" + json.dumps(rows[0]) + "\n"
    result = expect(leat("template", "--batch", stdin=lines), err="")
    found = [json.loads(line) for line in result.out.splitlines()]
    assert [row.get("rendered") for row in found] == ["42", "file \u20ac\n", None, None, "Hi <turn|>2031"] + 5 * [None] + ["42"], found
    kinds = [row["error"]["kind"] for row in found if "error" in row]
    assert kinds == ["raised", "syntax", "request", "request", "zero_division", "request", "request"], kinds
    assert found[2]["error"]["message"] == "no"
    again = expect(leat("template", "--batch", write(HOME + "/rows.jsonl", lines)), err="")
    assert again.out == result.out


def test_template_limits():
    endless = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"
    large = "{% set ns = namespace(t='x') %}{% for i in range(30) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}"
    deep = "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}"
    rows = [{"template": text, "context": {}} for text in (endless, large, "{{ " + "(" * 300, deep, "{{ " + "x" * 300000)]
    result = expect(leat("template", "--batch", stdin="".join(json.dumps(row) + "\n" for row in rows)), err="")
    assert all("error" in json.loads(line) for line in result.out.splitlines()), result.out
    assert len(result.out.splitlines()) == len(rows)


def test_template_option():
    own = write(HOME + "/own.jinja", "<bos>{% for m in messages %}<|turn>user\\n{{ m.content }}<turn|>{% endfor %}".replace("\\\\n", "!"))
    result = expect(leat("run", MODEL, SUM, "--template", own, "--show-prompt", "-q"))
    assert result.out.startswith("<bos><|turn>user") and SUM + "<turn|>" in result.out and "model" not in result.out, result
    missing = expect(leat("run", MODEL, SUM, "--template", HOME + "/none", "--show-prompt"), 2, "")
    assert "cannot be opened" in missing.err
    expect(leat("chat", MODEL, "--template", HOME + "/none", stdin="x\n"), 2, "")
    no_bos = write(HOME + "/no_bos.jinja", "{{ messages[0].content }}")
    found = json.loads(expect(leat("run", MODEL, "Hi", "--template", no_bos, "--show-prompt", "--json")).out)
    assert found["prompt"] == "<bos>Hi" and found["tokens"][0] == 2, found
    two = write(HOME + "/two.jinja", "<bos><bos>{{ messages[0].content }}")
    assert json.loads(expect(leat("run", MODEL, "Hi", "--template", two, "--show-prompt", "--json")).out)["tokens"] == found["tokens"]
def test_batch_fields():
    """Every field, on tokenizers of each kind of file, from a file; the answers are those of the golden cases."""
    for folder in ("gemma4", "kimi-tiktoken", "sentencepiece-bpe", "t5-unigram", "bert-wordpiece"):
        path = os.path.join(ROOT, "tests/golden/tokenizers", folder)
        with open(os.path.join(path, "cases.json"), encoding="utf-8") as file:
            cases = json.load(file)["cases"][::3]
        rows = [{"text": case["text"], "special": special, "plain": plain} for case in cases for special, plain in ((False, False), (True, False), (False, True))]
        wanted = [ids for case in cases for ids in (case["ids"], case["ids_special"], case.get("ids_plain", case["ids"]))]
        with tempfile.TemporaryDirectory() as scratch:
            name = os.path.join(scratch, "rows.jsonl")
            write(name, "".join(json.dumps(row) + "\n" for row in rows))
            result = expect(leat("tokenize", path, "--batch", name))
        found = [json.loads(line).get("ids") for line in result.out.splitlines()]
        wrong = [i for i in range(len(rows)) if i >= len(found) or found[i] != wanted[i]]
        assert not wrong, (folder, rows[wrong[0]])
        asked = [{"ids": case["ids"], "stream": True} for case in cases]
        result = expect(leat("detokenize", path, "--batch", stdin="".join(json.dumps(row) + "\n" for row in asked)))
        for case, line in zip(cases, result.out.splitlines()):
            answer = json.loads(line)
            assert len(answer["steps"]) == len(case["ids"]), (folder, case)
            if folder != "gemma4":  # whose streams cannot take back what an invalid run has shown
                assert "".join(answer["steps"]) + answer["flush"] == case["decoded"], (folder, case, answer)


def test_batch_files():
    """The three verbs take their lines from the same places, and say the same about wrong ones."""
    lines = write(HOME + "/lines", '{"text": "a", "ids": [5], "template": "t"}\n')
    for verb in (["tokenize", MODEL], ["detokenize", MODEL], ["parse"], ["template"]):
        want = expect(leat(*verb, "--batch", lines), err="").out
        assert want and expect(leat(*verb, "--batch", "-", stdin=open(lines).read())).out == want
        expect(leat(*verb, "--batch", "no/file"), 2, "", usage_error("no/file: cannot be opened: No such file or directory"))
        expect(leat(*verb, "--batch", HOME), 2, "", usage_error("%s: is a folder, not a file" % HOME))
        expect(leat(*verb, "--batch", ""), 2, "", usage_error("the name of the file to read is empty"))
        if verb[0] in ("parse", "template"):
            continue
        expect(leat(*verb, "--batch", "-f", lines), 0, want)
        expect(leat(*verb, "--batch", "-f", lines, lines), 2, "", usage_error("--file: '%s' is already the input" % lines))
        text, value = ("--prompt", "a") if verb[0] == "tokenize" else ("--tokens", "5")
        expect(leat(*verb, "--batch", text, value), 2, "",
               usage_error("%s: with --batch the lines of a file, or of standard input, are the texts" % text))


def test_run_with_another_kind_of_tokenizer():
    """A model whose folder has a tokenizer.model alone runs, and its plan holds at the floor."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in os.listdir(os.path.join(ROOT, MODEL)):
            if name != "tokenizer.json":
                shutil.copy(os.path.join(ROOT, MODEL, name), os.path.join(scratch, name))
        shutil.copy(os.path.join(ROOT, "tests/golden/tokenizers/sentencepiece-bpe/tokenizer.model"), scratch)
        floor = json.loads(expect(leat("plan", scratch, "--ctx", "512", "--json")).out)["floor_bytes"]
        answers = set()
        for ram in (str(floor), "60M"):
            result = leat("run", scratch, "--raw", "--ctx", "512", "--ram", ram, "-n", "8", "--temp", "0", "Hello there")
            assert result.code == 0, result
            answers.add(result.out)
        assert len(answers) == 1, answers
        expect(leat("run", scratch, "--raw", "--ctx", "512", "--ram", str(floor - 65536), "-n", "1", "Hello"), 4, "")


# ---- run -----------------------------------------------------------------------------------------------------------------------------


def test_run_answers():
    result = expect(leat("run", MODEL, SUM, *FAST), out=SUM_ANSWER)
    lines = result.err.splitlines()
    unit = r"[\d.]+ (B|KiB|MiB|GiB)"
    assert re.fullmatch(r"ram: %s budget = trunk %s \+ kv %s \(ctx 256\) \+ scratch %s \+ .*experts %s \(\d+ of 360\)( \+ unspent %s)?" % ((unit,) * 6), lines[0]), lines[0]
    assert re.match(r"\[prompt 16 tok .* tok/s \| first token .* \| decode .* tok/s \| experts \d+ hit \d+ miss .* \| read .* GB/s \| peak .* of .*\]", lines[-1]), result.err


def test_quiet_is_quiet():
    expect(leat("run", MODEL, SUM, *FAST, "-q"), 0, SUM_ANSWER, "")
    result = expect(leat("run", "no/model", "x", "-q"), 3, "")
    assert result.err.startswith("leat: error: ")


def test_log_file():
    path = HOME + "/log"
    expect(leat("run", MODEL, SUM, *FAST, "-q", "--log-file", path), 0, SUM_ANSWER, "")
    with open(path, encoding="utf-8") as f:
        lines = f.read().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warning) \S", line) for line in lines), lines
    assert "Z info ram: " in lines[0] and "Z info [prompt 16 tok " in lines[-1], lines
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    expect(leat("info", "no/model", "--log-file", path), 3)
    with open(path, encoding="utf-8") as f:
        more = f.read().splitlines()[len(lines):]
    assert "Z error " in more[0] and "no/model" in more[0], more
    expect(leat("version", "--log-file", HOME), 2, "", usage_error("--log-file: %s: cannot be opened: Is a directory" % HOME))
    if os.path.exists("/dev/full"):
        result = expect(leat("run", MODEL, SUM, *FAST, "--log-file", "/dev/full"), 0, SUM_ANSWER)
        assert result.err.count("leat: warning: --log-file: /dev/full: write failed, nothing more is logged: No space left on device\n") == 1, result


def test_verbose_block():
    err = expect(leat("run", MODEL, SUM, *FAST, "-v")).err
    for word in ("load ", "prefill 16 tok", "decode ", "p95", "experts ", "disk ", "memory peak "):
        assert word in err, (word, err)


def test_run_json():
    result = expect(leat("run", MODEL, SUM, *FAST, "--json", "--seed", "7"))
    assert result.out.count("\n") == 1
    found = json.loads(result.out)
    assert found["schema"] == "leat.run/1" and found["text"] == SUM_ANSWER and found["stop_reason"] == "stop" and found["seed"] == 7
    assert found["tokens"][-1] == 13 and found["prompt_token_count"] == 16
    assert found["timings"]["decode_token_count"] == len(found["tokens"]) - 1
    memory = found["memory"]
    assert sum(memory["parts"].values()) == memory["budget_bytes"] and 0 < memory["rss_peak_bytes"]
    assert found["experts"]["misses"] > 0 and found["io"]["read_bytes"] >= found["io"]["payload_bytes"] > 0


# ---- recorded routing --------------------------------------------------------------------------------------------------------


def replay(trace, *args):
    found = json.loads(expect(leat("replay", trace, "--json", *args), err="").out)
    assert found["schema"] == "leat.replay/1" and found["file"] == trace
    return found


def counters(experts):
    return [experts[name] for name in ("hits", "misses", "evictions", "ahead_used", "ahead_wasted")]


def recorded(trace):
    """The counters of the row that has the settings of the recording."""
    rows = [row for row in replay(trace)["rows"] if row["as_recorded"]]
    assert len(rows) == 1, rows
    return rows[0]


def test_route_trace_replays_exactly():
    trace, texts, seen = HOME + "/route.jsonl", set(), set()
    sizes = plan("--ctx", "256", "--prefill-chunk", "7")
    floor, everything = sizes["floor_bytes"], sizes["everything_bytes"]
    cases = [(policy, part, ahead) for policy in ("auto", "lru", "lfu", "slru", "s3fifo") for part in (0, 0.25, 0.6, 1) for ahead in ("off", "on")]
    for policy, part, ahead in cases + [("auto", 0.8, "auto")]:
        ram = str(int(floor + part * (everything + 8192 - floor)))
        out = expect(leat("run", MODEL, SUM, *FAST, "-n", "24", "--ignore-eos", "--json", "--ram", ram, "--prefill-chunk", "7",
                          "--cache-policy", policy, "--look-ahead", ahead, "--route-trace", trace, "--profile", "off")).out
        live = json.loads(out)
        row = recorded(trace)
        assert row["policy"] == live["memory"]["cache_policy"] == ("lfu" if policy == "auto" else policy)
        assert row["slot_count"] == live["memory"]["expert_slot_count"]
        assert counters(row) == counters(live["experts"]), (policy, part, ahead, row, live["experts"])
        found = live["experts"]
        assert abs(found["ahead_recall"] - found["ahead_used"] / found["misses"]) < 1e-3, found
        assert (found["ahead_used_bytes"] > 0) == (found["ahead_used"] > 0), found
        assert ahead == "auto" or (live["experts"]["ahead_used"] > 0) == (ahead == "on" and 0 < part), (part, live["experts"])
        assert (row["evictions"] > 0) == (part < 1)
        texts.add(live["text"])
        seen.add((row["slot_count"], *counters(row)))
    assert len(texts) == 1
    assert len(seen) > 16, seen  # the policies differ, so that the wrong one would be noticed


def test_route_trace_of_a_score_and_a_chat():
    trace, ram = HOME + "/route.jsonl", str(plan("--ctx", "256")["floor_bytes"] * 6 // 5)
    live = json.loads(expect(leat("eval", MODEL, "-p", SUM * 6, "--json", "--ram", ram, "--ctx", "256", "--route-trace", trace)).out)
    assert counters(recorded(trace)) == counters(live["experts"])
    lines = [json.loads(line) for line in open(trace, encoding="utf-8")]
    assert lines[0]["leat_route_trace"] == 2 and lines[0]["prefill_chunk"] > 1
    assert sum(line.get("rows", 1) for line in lines[1:]) == live["token_count"]
    assert all(len(line["layers"]) == lines[0]["layer_count"] for line in lines[1:])
    chat = expect(leat("chat", MODEL, *FAST, "-v", "--ram", ram, "--route-trace", trace, stdin=SUM + "\n" + SUM + "\n"))
    said = re.findall(r"experts (\d+) hit (\d+) miss .*?(\d+) evicted", chat.err)
    assert len(said) == 2 and counters(recorded(trace))[:3] == [sum(int(row[i]) for row in said) for i in range(3)], (said, recorded(trace))


def test_route_trace_of_an_interrupted_answer():
    trace = HOME + "/route.jsonl"
    process = start(*LONG, "--route-trace", trace)
    read_until(process.stdout, lambda seen: len(seen) > 120)
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 130
    assert recorded(trace)["hits"] > 0
    text = open(trace, encoding="utf-8").read()
    with open(trace, "w", encoding="utf-8") as f:
        f.write(text[:len(text) * 2 // 3])  # as a crash leaves it
    assert 0 < replay(trace)["step_count"] < text.count("\n") - 1


def test_a_trace_with_a_resize_is_not_exact():
    trace = HOME + "/route.jsonl"
    expect(leat("run", MODEL, SUM, *FAST, "--route-trace", trace))
    assert recorded(trace)["hits"] > 0 and replay(trace)["resize_count"] == 0
    lines = open(trace, encoding="utf-8").read().splitlines()
    write(trace, "\n".join(lines[:3] + ['{"slots":40}'] + lines[3:]) + "\n")
    found = replay(trace)
    assert found["resize_count"] == 1 and found["step_count"] == len(lines) - 1, found
    assert not any(row["as_recorded"] for row in found["rows"])
    assert "changed its size" in expect(leat("replay", trace)).err


def test_leases_end_with_the_process():
    folder = HOME + "/leat"
    process = start(*LONG)
    read_until(process.stdout, lambda seen: len(seen) > 20)
    held = os.listdir(folder)
    assert len(held) == 1 and stat.S_IMODE(os.stat(folder).st_mode) == 0o700, held
    process.kill()
    finish(process)
    assert os.listdir(folder) == held
    expect(leat("run", MODEL, SUM, *FAST), out=SUM_ANSWER)
    assert os.listdir(folder) == []
    os.rmdir(folder)
    os.symlink(HOME, folder)  # not followed: everything works without
    expect(leat("run", MODEL, SUM, *FAST), out=SUM_ANSWER)
    expect(leat("run", MODEL, SUM, *FAST, "--lease", "off", "--pressure", "off"), out=SUM_ANSWER)
    os.unlink(folder)


def test_route_trace_that_cannot_be_written():
    for path, why in (("/dev/full", "write failed: No space left on device"), (HOME + "/none/x", "cannot be created: No such file or directory")):
        if path == "/dev/full" and not os.path.exists(path):
            continue
        result = expect(leat("run", MODEL, SUM, *FAST, "--route-trace", path), out=SUM_ANSWER)
        assert result.err.count("warning") == 1 and "leat: warning: %s: %s; the routing is not recorded\n" % (path, why) in result.err, result


def test_replay():
    trace = write(HOME + "/bare.jsonl", "".join('{"tok": %d, "layers": [[%d, %d], [%d, 5]]}\n' % (i, i % 3, 3 + i % 2, i % 4) for i in range(40)))
    found = replay(trace, "--slots", "4,6,12")
    assert [found[name] for name in ("token_count", "layer_count", "expert_count", "used_count", "recorded_policy")] == [40, 2, 6, 2, None]
    assert [(row["slot_count"], row["policy"]) for row in found["rows"]] == [
        (slots, policy) for slots in (4, 6, 12) for policy in ("lru", "lfu", "slru", "s3fifo", "belady")]
    for row in found["rows"]:
        bound = next(r for r in found["rows"] if r["slot_count"] == row["slot_count"] and r["policy"] == "belady")
        assert row["hits"] + row["misses"] == 160 and row["hits"] <= bound["hits"]
        assert abs(row["hit_rate"] - row["hits"] / 160) < 1e-9 and not row["as_recorded"]
        assert row["evictions"] == 0 or row["slot_count"] < 12
    only = replay(trace, "--slots", "6", "--policy", "belady")["rows"]
    assert only == [row for row in found["rows"] if row["slot_count"] == 6 and row["policy"] == "belady"]
    assert "belady" in expect(leat("replay", trace), err="").out
    expect(leat("replay"), 2, "", usage_error("leat replay: which file?", "leat run MODEL PROMPT --route-trace FILE writes one"))
    for bad in ("0", "4,", ",4", "x", "4;5", "99999999999", "-4", ""):
        result = leat("replay", trace, "--slots=" + bad)
        assert result.code == 2 and result.err.startswith("leat: error: --slots '%s': expected numbers" % bad), (bad, result)
    assert "1 slots, but a token needs 2" in expect(leat("replay", trace, "--slots", "1"), 4, "").err
    assert "bare.jsonl, line 41" in expect(leat("replay", write(trace, open(trace).read() + '{"tok": 41}\n')), 3, "").err
    expect(leat("replay", HOME + "/none"), 3, "")


def test_run_tokens_as_text():
    ids = json.loads(expect(leat("run", MODEL, SUM, "--show-prompt", "--json")).out)["tokens"]
    assert len(ids) == 16
    want = json.loads(leat("run", MODEL, SUM, *FAST, "--json").out)["tokens"]
    text = ",".join(map(str, ids))
    got = json.loads(expect(leat("run", MODEL, "--tokens", text, *FAST, "--json")).out)
    assert got["tokens"] == want and got["text"] == SUM_ANSWER
    path = write(HOME + "/ids", "\n".join(map(str, ids)) + "\n")
    assert json.loads(expect(leat("run", MODEL, "--tokens", "@" + path, *FAST, "--json")).out)["tokens"] == want
    folder = copy_model("bare", "config.json", "generation_config.json", "model.safetensors")
    got = json.loads(expect(leat("run", folder, "--tokens", text, *FAST, "--json")).out)
    assert got["tokens"] == want and got["text"] == ""
    assert "--tokens" in expect(leat("run", folder, "text", *FAST), 3, "").err
    shutil.rmtree(folder)


def test_same_text_everywhere():
    want = leat("run", MODEL, SUM, "--ctx", "256", "--seed", "3", "-q", "--temp", "1").out
    floor = plan("--ctx", "256")["floor_bytes"]
    for extra in (["--ram", str(floor)], ["-t", "1"], ["--prefill-chunk", "3"], ["--io", "buffered"], ["--io-engine", "uring"], ["--isa", "scalar"]):
        assert expect(leat("run", MODEL, SUM, "--ctx", "256", "--seed", "3", "-q", "--temp", "1", *extra)).out == want, extra


def forbid_io_uring():
    """In the child: io_uring_setup fails with EPERM, as in many containers."""
    libc = ctypes.CDLL(None, use_errno=True)
    instructions = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
    filter_bytes = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *i) for i in instructions))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(filter_bytes)))
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0, "no seccomp here"


def test_io_engine_in_use():
    assert json.loads(leat("run", MODEL, SUM, *FAST, "--json", "--io-engine", "threads").out)["io"]["engine"] == "threads"
    assert ", threads)" in leat("run", MODEL, SUM, *FAST, "-v", "--io-engine", "threads").err
    found = leat("run", MODEL, SUM, *FAST, "--json", env={"LEAT_IO_ENGINE": "uring"})
    if json.loads(found.out)["io"]["engine"] != "uring":
        skip("this build or system has no io_uring")
    assert ", uring)" in leat("run", MODEL, SUM, *FAST, "-v", "--io-engine", "uring").err
    assert json.loads(leat("run", MODEL, SUM, *FAST, "--json").out)["io"]["engine"] == "uring"


def test_io_uring_forbidden():
    args = [LEAT, "run", MODEL, SUM, *FAST, "--io-engine", "uring"]
    if json.loads(leat(*args[1:], "--json").out)["io"]["engine"] != "uring":
        skip("this build or system has no io_uring")
    done = subprocess.run(args + ["--json"], capture_output=True, text=True, env=environment(), cwd=ROOT,
                          preexec_fn=forbid_io_uring)
    assert done.returncode == 0 and done.stderr.count("io_uring") == 1 and "Operation not permitted" in done.stderr, done
    found = json.loads(done.stdout)
    assert found["io"]["engine"] == "threads" and found["text"] == SUM_ANSWER


def test_show_prompt():
    result = expect(leat("run", MODEL, SUM, "--show-prompt"), err="16 tokens\n")
    assert result.out == "<bos><|turn>user\n%s<turn|>\n<|turn>model\n" % SUM, result.out
    raw = expect(leat("run", MODEL, "Once", "--raw", "--show-prompt"))
    assert raw.out == "Once\n" and raw.err.endswith(" tokens\n")
    system = expect(leat("run", MODEL, SUM, "--system", "Be brief.", "--show-prompt")).out
    assert "Be brief." in system and "system" in system, system


def test_raw():
    for option, value in (("--system", "y"), ("--tools", "none.json"), ("--template", "none.jinja"), ("--think", "on")):
        expect(leat("run", MODEL, "x", "--raw", option, value), 2, "",
               usage_error("%s: the text of --raw is continued as it is, without the model's chat format" % option))
        expect(leat("run", MODEL, "--tokens", "1,2", option, value), 2, "",
               usage_error("%s: what --tokens gives is continued as it is, without the model's chat format" % option))
    settings = write(HOME + "/own.ini", "system = Answer briefly.\nthink = on\n")  # meant for conversations
    assert expect(leat("run", MODEL, "x", "--raw", "--show-prompt", "--config", settings, "-q")).out == "x\n"
    assert len(json.loads(expect(leat("run", MODEL, "Once there was", "--raw", *FAST, "-n", "5", "--json", "--ignore-eos")).out)["tokens"]) == 5


def test_stdin_rules():
    show = ["--show-prompt", "-q"]
    frame = "<bos><|turn>user\n%s<turn|>\n<|turn>model\n"
    assert expect(leat("run", MODEL, *show, stdin=SUM + "\n")).out == frame % SUM
    assert expect(leat("run", MODEL, "-", *show, stdin=SUM)).out == frame % SUM
    assert expect(leat("run", MODEL, "Explain:", *show, stdin="a b")).out == frame % "Explain:\n\na b"
    assert expect(leat("run", MODEL, "Explain:", *show, stdin="")).out == frame % "Explain:"
    assert expect(leat("run", MODEL, "Explain:", *show)).out == frame % "Explain:"
    path = write(HOME + "/prompt.txt", "from a file\n")
    assert expect(leat("run", MODEL, "-f", path, *show)).out == frame % "from a file"
    assert expect(leat("run", "-m", MODEL, SUM, *show)).out == frame % SUM
    expect(leat("run", MODEL, "-", *show, stdin=""), 2, "")
    result = expect(leat("run", MODEL, "-", *show, "--max-prompt-bytes", "10", stdin="x" * 11), 2, "")
    assert result.err == usage_error("standard input: more than 10 bytes", "--max-prompt-bytes raises the limit"), result.err
    expect(leat("run", MODEL, "-f", "/nowhere"), 2, "", usage_error("/nowhere: cannot be opened: No such file or directory"))
    expect(leat("run", MODEL, "-f", HOME), 2, "", usage_error("%s: is a folder, not a file" % HOME))
    expect(leat("run", MODEL, "--tokens", "@"), 2, "", usage_error("the name of the file to read is empty"))


def test_max_tokens():
    for name in ("-n", "--max-tokens", "--predict", "--n-predict"):
        found = json.loads(expect(leat("run", MODEL, SUM, *FAST, "--json", name, "3")).out)
        assert len(found["tokens"]) == 3 and found["stop_reason"] == "length", found
    assert json.loads(expect(leat("run", MODEL, SUM, *FAST, "--json", "-n", "0")).out)["tokens"] == []
    line = expect(leat("run", MODEL, SUM, *FAST, "-n", "0"), out="").err.splitlines()[-1]
    assert re.match(r"\[prompt 16 tok [\d.]+ tok/s \| experts ", line), line  # nothing is said of tokens that were not made
    assert json.loads(expect(leat("run", MODEL, SUM, *FAST, "--json", "-n24", "--ignore-eos")).out)["timings"]["decode_token_count"] == 23


def test_stop_strings():
    expect(leat("run", MODEL, SUM, *FAST, "-q", "--stop", "equ"), 0, "2 + 2 ")
    found = json.loads(expect(leat("run", MODEL, SUM, *FAST, "--json", "--stop", "never", "--stop", " equals 4")).out)
    assert found["text"] == "2 + 2" and found["stop_reason"] == "stop_string"
    expect(leat("run", MODEL, SUM, *FAST, "-q", "--stop", "4.x"), 0, SUM_ANSWER)  # held back, then shown after all


def test_seed_is_printed_and_repeats():
    result = expect(leat("run", MODEL, "Tell me a story about a fox.", "--ctx", "256", "-n", "30", "--temp", "1.5"))
    seed = re.search(r"^seed: (\d+)$", result.err, re.M).group(1)
    again = expect(leat("run", MODEL, "Tell me a story about a fox.", "--ctx", "256", "-n", "30", "--temp", "1.5", "--seed", seed))
    assert again.out == result.out and "seed:" not in again.err
    assert "seed:" not in leat("run", MODEL, SUM, *FAST).err  # nothing is drawn


def test_context_ends_the_answer():
    args = ["run", MODEL, "Tell me a story about a fox.", "--ctx", "24", "--temp", "0"]
    result = expect(leat(*args))
    assert "[the context of 24 tokens is full; --ctx makes it larger]" in result.err
    assert json.loads(leat(*args, "--json").out)["stop_reason"] == "context"
    assert "leat: error: the context of 24 tokens ended the answer" in expect(leat(*args, "--strict"), 7).err
    expect(leat("run", MODEL, "a b c d e f g h i j k l m n o p", "--ctx", "8"), 7, "")


def test_long_prompts():
    words = "the fox runs " * 1700  # about 5100 tokens
    result = expect(leat("run", MODEL, "--temp", "0", stdin=words), 7, "")  # before any weight is read
    found = re.fullmatch(r"leat: error: (\d+) tokens do not fit the context of 4096\nhint: --ctx \1 or more makes room; the model allows 8192\n", result.err)
    assert found, result
    some = words[:5000]
    count = json.loads(expect(leat("run", MODEL, "--show-prompt", "--json", stdin=some)).out)["token_count"]
    args = ["--temp", "0", "-n", "1", "--json", "--ctx", "2048", "--prefill-chunk", "512"]
    assert json.loads(expect(leat("run", MODEL, *args, stdin=some)).out)["prompt_token_count"] == count
    result = expect(leat("run", MODEL, "--temp", "0", stdin=words * 2), 7, "")
    assert re.fullmatch(r"leat: error: \d+ tokens do not fit the context of 4096\nhint: the model allows 8192 at most\n", result.err), result


def test_invalid_utf8():
    expect(leat("run", MODEL, b"a\xffb"), 2, "", usage_error("the prompt is not valid UTF-8 at byte 1"))
    expect(leat("run", MODEL, stdin="", text=True), 2, "")
    done = subprocess.run([LEAT, "run", MODEL], input=b"caf\xe9", cwd=ROOT, env=environment(), capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", usage_error("the prompt is not valid UTF-8 at byte 3").encode()), done
    for verb in ("run", "chat"):
        expect(leat(verb, MODEL, "--system", b"\xc3(", stdin="x"), 2, "", usage_error("--system is not valid UTF-8 at byte 0"))
    expect(leat("tokenize", MODEL, b"\xff"), 2, "", usage_error("the text is not valid UTF-8 at byte 0"))
    assert expect(leat("run", "no/\x1b[31mmodel", "x"), 3, "").err.count("\x1b") == 0


# ---- eval ------------------------------------------------------------------------------------------------------------------------------


def read_npy(path):
    with open(path, "rb") as f:
        magic = f.read(10)
        assert magic[:8] == b"\x93NUMPY\x01\x00", magic
        length = struct.unpack("<H", magic[8:])[0]
        header = f.read(length)
        assert (10 + length) % 64 == 0 and header.endswith(b"\n"), header
        shape = re.fullmatch(r"\{'descr': '<f4', 'fortran_order': False, 'shape': \((\d+), (\d+)\), \} *\n", header.decode())
        rows, cols = map(int, shape.groups())
        data = array.array("f")
        data.frombytes(f.read())
        assert len(data) == rows * cols
        return rows, cols, data


def test_eval_logits():
    path = HOME + "/logits.npy"
    ids = [2, 105, 7, 300, 41]
    result = expect(leat("eval", MODEL, "--tokens", ",".join(map(str, ids)), "--logits", path, "--json", "--top", "3", "--ctx", "64"))
    rows, cols, data = read_npy(path)
    assert (rows, cols) == (len(ids), 4096)
    found = json.loads(result.out)

    def log_p(row, token):
        values = data[row * cols:(row + 1) * cols]
        top = max(values)
        return values[token] - top - math.log(sum(math.exp(v - top) for v in values))

    for i in range(1, len(ids)):
        assert abs(found["tokens"][i]["log_probability"] - log_p(i - 1, ids[i])) < 1e-5
    assert found["tokens"][0]["log_probability"] is None
    total = sum(row["log_probability"] for row in found["tokens"][1:])
    assert abs(found["log_probability"] - total) < 1e-9 and found["scored_count"] == 4
    assert abs(found["perplexity"] - math.exp(-total / 4)) < 1e-6 * found["perplexity"]
    best = sorted(range(cols), key=lambda t: -data[4 * cols + t])[:3]
    assert [row["id"] for row in found["top"]] == best
    assert abs(found["top"][0]["log_probability"] - log_p(4, best[0])) < 1e-5
    assert [name for name in os.listdir(HOME) if name.startswith("logits")] == ["logits.npy"]


def test_eval_never_leaves_half_a_file():
    path = write(HOME + "/keep.npy", "old")
    expect(leat("eval", MODEL, "--tokens", "2,3,4,5,6,7,8,9", "--logits", path, "--ctx", "4"), 7)
    with open(path, encoding="utf-8") as f:
        assert f.read() == "old"
    assert [name for name in os.listdir(HOME) if name.startswith("keep.npy")] == ["keep.npy"]
    expect(leat("eval", MODEL, "--tokens", "2,3", "--logits", HOME, "-q"), 5, "", usage_error("%s: cannot be created: Is a directory" % HOME))
    assert "/nowhere/x.npy: cannot be created" in expect(leat("eval", MODEL, "--tokens", "2,3", "--logits", "/nowhere/x.npy"), 5).err


def test_eval_replaces_no_device_and_no_link():
    if os.path.exists("/dev/full"):
        folder = HOME + "/devices"  # a copy: a program that replaces devices must not harm the machine
        os.makedirs(folder)
        try:
            os.mknod(folder + "/full", stat.S_IFCHR | 0o666, os.stat("/dev/full").st_rdev)
            open(folder + "/full", "wb").close()
        except OSError:
            shutil.rmtree(folder)  # not allowed here; the pipe below is tested everywhere
        else:
            result = leat("eval", MODEL, "--tokens", "2,3", "--ctx", "64", "--logits", folder + "/full", "-q")
            expect(result, 5, "", usage_error("%s/full: write failed: No space left on device" % folder))
            assert stat.S_ISCHR(os.stat(folder + "/full").st_mode) and os.listdir(folder) == ["full"]
    pipe = HOME + "/pipe.npy"
    os.mkfifo(pipe)
    process = start("eval", MODEL, "--tokens", "2,3", "--ctx", "64", "--logits", pipe, "-q")
    with open(pipe, "rb") as f:
        assert f.read(6) == b"\x93NUMPY" and len(f.read()) == 122 + 2 * 4096 * 4
    assert finish(process).code == 0 and stat.S_ISFIFO(os.stat(pipe).st_mode)
    real, link = write(HOME + "/real.npy", "old"), HOME + "/link.npy"
    os.symlink("real.npy", link)
    expect(leat("eval", MODEL, "--tokens", "2,3", "--ctx", "64", "--logits", link, "-q"))
    assert os.path.islink(link) and read_npy(real)[:2] == (2, 4096)


def test_eval_makes_room():
    ids = ",".join(["2"] + ["300"] * 4099)
    args = ["eval", MODEL, "--json", "-q", "--prefill-chunk", "512", "--tokens"]
    found = json.loads(expect(leat(*args, ids, timeout=300), err="").out)
    assert found["token_count"] == 4100 and found["memory"]["ctx"] == 4100
    assert json.loads(expect(leat(*args, "2,3")).out)["memory"]["ctx"] == 4096
    hint = "--ctx 4100 or more makes room; the model allows 8192"
    expect(leat(*args, ids, "--ctx", "4099"), 7, "", usage_error("4100 tokens do not fit the context of 4099", hint))
    expect(leat(*args, ids + ",3" * 4900), 7, "", usage_error("9000 tokens do not fit the context of 8192", "the model allows 8192 at most"))
    floor = plan("--ctx", "4096", "--prefill-chunk", "512")["floor_bytes"]
    result = expect(leat(*args, ids, "--ram", str(floor)), 4, "")
    assert result.err.endswith("hint: the context must hold the text's 4100 tokens; give more with --ram, or score less text\n"), result


def test_eval_says_what_it_cost():
    result = expect(leat("eval", MODEL, "--tokens", "2,3,4", "--ctx", "64", "--json"))
    line = result.err.splitlines()[-1]
    assert re.fullmatch(r"\[3 tok [\d.]+ tok/s, .* \| experts \d+ hit \d+ miss \(\d+ %\) \| read .* GB/s \| peak .* of .*\]", line), line
    found = json.loads(result.out)
    assert found["experts"]["misses"] > 0 and found["io"]["read_bytes"] > 0 and found["memory"]["rss_peak_bytes"] > 0 and found["isa"]


def test_eval_text():
    path = write(HOME + "/text", "Once there was a fox.")
    by_file = expect(leat("eval", MODEL, path, "--ctx", "64")).out
    assert re.fullmatch(r"tokens         \d+\nlog p          -[\d.]+\nmean NLL       [\d.]+ nats\nperplexity     [\d.]+\n", by_file), by_file
    assert leat("eval", MODEL, "--ctx", "64", stdin="Once there was a fox.").out == by_file
    assert leat("eval", MODEL, "-", "--ctx", "64", stdin="Once there was a fox.").out == by_file
    assert leat("eval", MODEL, "--ctx", "64", "-p", "Once there was a fox.").out == by_file
    table = expect(leat("eval", MODEL, path, "--ctx", "64", "-v", "--top", "2")).out
    assert "log p  token" in table and table.count("next token:") == 1
    expect(leat("eval", MODEL, path, "--tokens", "1"), 2, "")


# ---- pipes and signals -------------------------------------------------------------------------------------------------------------------


started = []  # what a failed case leaves running is ended after it


def start(*args, stdin=subprocess.DEVNULL, env=None, **more):
    process = subprocess.Popen([LEAT, *args], cwd=ROOT, env=environment(env), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    started.append(process)
    return process


def finish(process, timeout=30):
    out, err = process.communicate(timeout=timeout)
    return Result(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


LONG = ["run", MODEL, "Tell me a story about a fox.", "--temp", "0", "--ignore-eos", "-n", "100000", "--ctx", "4096"]


def read_until(stream, done, timeout=20):
    seen, end = b"", time.monotonic() + timeout
    while not done(seen):
        ready = select.select([stream], [], [], max(0, end - time.monotonic()))[0]
        assert ready, "nothing came for %d s after %r" % (timeout, seen[-300:])
        piece = os.read(stream.fileno() if hasattr(stream, "fileno") else stream, 65536)
        assert piece, "the end came after %r" % seen[-300:]
        seen += piece
    return seen


def test_closed_pipe_ends_quietly():
    process = start(*LONG)
    read_until(process.stdout, lambda seen: len(seen) > 20)
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=20)
    assert process.returncode == 141, (process.returncode, err)  # what a shell sees of a program that SIGPIPE ended
    assert b"error" not in err, err


def test_head():
    script = '"$0" "$@" | head -c 10; exit ${PIPESTATUS[0]}'
    done = subprocess.run(["bash", "-c", script, LEAT, *LONG], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=30,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 141 and len(done.stdout) == 10, done


def test_full_device():
    if not os.path.exists("/dev/full"):
        skip("there is no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run([LEAT, "help"], stdout=full, stderr=subprocess.PIPE, text=True, env=environment())
    assert done.returncode == 5 and "standard output: write failed: No space left on device" in done.stderr, done


def test_interrupt():
    process = start(*LONG)
    read_until(process.stdout, lambda seen: len(seen) > 20)
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    result = finish(process)
    assert result.code == 130 and "[stopped]" in result.err and "error" not in result.err, result
    assert time.monotonic() - begin < 5


def test_interrupt_at_any_time():
    for delay in (0.01, 0.05, 0.1, 0.2):
        process = start(*LONG)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        result = finish(process)
        assert result.code in (130, -signal.SIGINT), result  # before the handler is there, the signal itself ends the program
        assert "error" not in result.err, result


def test_model_written_to_while_it_runs():
    folder = copy_model("written")
    process = start("run", folder, *LONG[2:])
    read_until(process.stdout, lambda seen: len(seen) > 20)
    os.utime(folder + "/model.safetensors", (1, 1))
    result = finish(process)
    assert result.code == 5 and "model.safetensors: changed on disk while it was in use" in result.err, result
    shutil.rmtree(folder)


HELD_READS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static ssize_t held(int fd, void *to, size_t bytes, off_t at)
{
    static ssize_t (*real)(int, void *, size_t, off_t);
    if (!real) real = (ssize_t (*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread64");
    if (at >= 1 << 20) while (access(getenv("HELD_WHILE"), F_OK) == 0) usleep(1000);
    return real(fd, to, bytes, at);
}
ssize_t pread(int fd, void *to, size_t bytes, off_t at) { return held(fd, to, bytes, at); }
ssize_t pread64(int fd, void *to, size_t bytes, off_t at) { return held(fd, to, bytes, at); }
"""


def test_interrupt_while_the_disk_does_not_answer():
    """The first one ends the answer, and then the model is closed, which cannot be done before the reads are back. The second ends that."""
    compiler = shutil.which("cc")
    if not compiler or b"__asan_init" in open(LEAT, "rb").read() or b"__tsan_init" in open(LEAT, "rb").read():
        skip("no compiler, or sanitizers that want to be loaded first")
    held, library = HOME + "/held", HOME + "/held.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, "-x", "c", "-", "-ldl"], input=HELD_READS.encode(), check=True)
    open(held, "w").close()
    process = start(*LONG, "--io-engine", "threads", env={"LD_PRELOAD": library, "HELD_WHILE": held})
    caught = lambda: int(re.search(r"SigCgt:\s*(\w+)", open("/proc/%d/status" % process.pid).read())[1], 16)
    while not caught() >> signal.SIGINT - 1 & 1:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    time.sleep(2.5)  # not twice within a second
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 130
    os.remove(held)


def test_terminate():
    process = start(*LONG)
    read_until(process.stdout, lambda seen: len(seen) > 20)
    process.terminate()
    assert finish(process).code == 143


def test_hang_up():
    process = start(*LONG)
    read_until(process.stdout, lambda seen: len(seen) > 20)
    process.send_signal(signal.SIGHUP)
    assert finish(process).code == 129
    process = start(*LONG[:-4], "-n", "60", "--ctx", "512", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    read_until(process.stdout, lambda seen: len(seen) > 20)
    process.send_signal(signal.SIGHUP)
    assert finish(process).code == 0  # nohup leat run ... goes on


def test_without_standard_files():
    def run(redirection, *args):
        done = subprocess.run(["bash", "-c", '"$0" "$@" ' + redirection, LEAT, *args], cwd=ROOT, env=environment(),
                              capture_output=True, text=True, timeout=60)
        return Result(done.returncode, done.stdout, done.stderr)

    expect(run("<&-", "run", MODEL, SUM, *FAST, "-q"), 0, SUM_ANSWER, "")
    expect(run("<&-", "run", MODEL, *FAST), 2, "", usage_error("leat run needs a prompt", "usage: leat run [options] MODEL [PROMPT|-]; see leat help run"))
    expect(run(">&-", "run", MODEL, SUM, *FAST, "-q"), 5, "", "leat: error: standard output: write failed: Bad file descriptor\n")
    log = HOME + "/no-stdout.log"  # what is opened next must not get the free descriptor, and the answer with it
    expect(run(">&-", "version", "--log-file", log), 5, "", "leat: error: standard output: write failed: Bad file descriptor\n")
    with open(log, encoding="utf-8") as f:
        assert "leat 0" not in f.read()
    path = HOME + "/no-stderr.npy"
    expect(run("2>&-", "eval", MODEL, "--tokens", "2,3", "--ctx", "64", "--logits", path, "--json"), 0, err="")
    assert read_npy(path)[:2] == (2, 4096)


def test_waiting_for_stdin_says_so():
    process = start("run", MODEL, "x", "--show-prompt", stdin=subprocess.PIPE)
    err = read_until(process.stderr, lambda seen: b"\n" in seen)
    assert err == b"leat: reading standard input ...\n", err
    process.stdin.close()
    process.stdin = None
    assert finish(process).code == 0


# ---- terminals -----------------------------------------------------------------------------------------------------------------------------


class Terminal:
    """The program on a pseudo-terminal. Standard error goes to the terminal too, unless `stderr` is given."""

    def __init__(self, *args, env=None, columns=80, stderr=None, stdin=None):
        try:
            self.master, slave = pty.openpty()
        except OSError as why:  # bare systems may lack /dev/pts
            skip("no pseudo-terminal: %s" % why)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.before = termios.tcgetattr(slave)

        def become_leader():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen([LEAT, *args], cwd=ROOT, env=environment(env), stdin=stdin or slave, stdout=slave, stderr=stderr or slave,
                                        preexec_fn=become_leader, pass_fds=(slave,))
        self.slave = slave
        self.seen = b""
        started.append(self.process)

    def wait(self, text, timeout=20):
        """Reads until `text` comes, and forgets what was read up to it."""
        wanted, end = text.encode(), time.monotonic() + timeout
        while wanted not in self.seen:
            ready = select.select([self.master], [], [], max(0, end - time.monotonic()))[0]
            assert ready, "waited for %r, saw %r" % (text, self.seen[-600:])
            self.seen += os.read(self.master, 65536)
        at = self.seen.index(wanted)
        before, self.seen = self.seen[:at], self.seen[at + len(wanted):]
        return before.decode(errors="replace")

    def ready(self):
        """Waits for the next prompt: the editor has the terminal (the prompt alone is also drawn at each key)."""
        return self.wait("\x1b[?2004h") + self.wait(">>> ")

    def send(self, text):
        os.write(self.master, text.encode())

    def modes(self):
        return termios.tcgetattr(self.slave)

    def close(self, timeout=20):
        """The exit code, and the rest of the output."""
        os.close(self.slave)
        end = time.monotonic() + timeout
        while True:
            ready = select.select([self.master], [], [], max(0, end - time.monotonic()))[0]
            assert ready, "did not end: %r" % self.seen[-600:]
            try:
                piece = os.read(self.master, 65536)
            except OSError:
                break
            if not piece:
                break
            self.seen += piece
        os.close(self.master)
        return self.process.wait(timeout=10), self.seen.decode(errors="replace")


CHAT = ["chat", MODEL, "--temp", "0", "--ctx", "512", "-q"]


def test_chat():
    t = Terminal(*CHAT)
    t.ready()
    t.send(SUM + "\r")
    t.wait(SUM_ANSWER)
    t.ready()
    t.send("/tokens\r")
    t.wait(" of 512 tokens")
    t.send("/undo\r")
    t.wait("are forgotten")
    t.send("/regen\r")
    t.wait("There is nothing to answer yet.")
    t.send("/nonsense\r")
    t.wait("There is no command /nonsense;")
    t.send("/help\r")
    t.wait("/system TEXT")
    t.ready()
    t.send("/exit\r")
    code, rest = t.close()
    assert code == 0, rest


def test_chat_commands():
    t = Terminal(*CHAT)
    t.ready()
    t.send("What is the capital of France?\r")
    t.wait("Paris.")
    t.ready()
    t.send("/regen\r")
    t.wait("Paris.")
    t.ready()
    t.send("  /set max-tokens 3\r")
    t.ready()
    t.send("/set temp hot\r")
    t.wait("/set: temp: 'hot' is not a number from 0 to 100")
    t.send("/set ram 3G\r")
    t.wait("/set: there is no setting 'ram' for answers")
    t.send("/system Be kind.\r")
    t.wait("The instructions hold")
    t.send("/show\r")
    t.wait("max-tokens 3")
    t.wait("system     Be kind.")
    t.send("/clear\r")
    t.wait("A new conversation.")
    t.send("/tokens\r")
    t.wait("0 of 512 tokens")
    t.send("/read /nowhere\r")
    t.wait("/read: /nowhere: cannot be opened")
    t.ready()
    t.send("/q\r")
    assert t.close()[0] == 0


def test_chat_edit():
    script = write(HOME + "/editor", '#!/bin/sh\nprintf "%s" "/system Be " > "$2.new"; cat "$2" >> "$2.new"; mv "$2.new" "$2"; test "$1" = -x\n')
    os.chmod(script, 0o755)
    t = Terminal(*CHAT, env={"VISUAL": script + " -x", "TMPDIR": HOME})
    t.ready()
    t.send("kind.\x07")
    t.wait("/system Be kind.")
    t.send("\r")
    t.wait("The instructions hold")
    t.ready()
    t.send("/edit calm.\r")  # what was written is asked, and not taken for a command
    t.ready()
    t.send("/show\r")
    t.wait("system     Be kind.")
    t.ready()
    t.send("\x04")
    assert t.close()[0] == 0
    t = Terminal(*CHAT, env={"VISUAL": "false", "TMPDIR": HOME})
    t.ready()
    t.send("/edit\r")
    t.wait("/edit: the editor failed; the text is as it was")
    t.ready()
    t.send("\x04")
    assert t.close()[0] == 0 and not [name for name in os.listdir(HOME) if name.startswith("leat-")]


def test_chat_end_of_input():
    t = Terminal(*CHAT)
    before = t.before
    t.ready()
    assert t.modes()[3] & (termios.ICANON | termios.ECHO) == 0
    t.send("\x04")
    t.process.wait(timeout=20)
    assert t.modes() == before
    code, rest = t.close()
    assert code == 0 and "\x1b[?2004l" in rest, rest


def test_chat_interrupt_at_prompt():
    t = Terminal(*CHAT)
    t.ready()
    t.send("half a question\x03")
    t.wait("^C")
    t.ready()
    t.send("\x03")
    t.wait("Use Ctrl-D or /exit to end.")
    t.ready()
    t.send("\x03")
    code, _ = t.close()
    assert code == 130, code


def test_chat_interrupt_stops_the_answer():
    t = Terminal(*CHAT, "--ignore-eos", "--ctx", "4096")
    t.ready()
    t.send("Tell me a story about a fox.\r")
    t.wait("Once")
    os.kill(t.process.pid, signal.SIGINT)
    t.wait("[stopped]", timeout=5)
    t.ready()
    t.send("/undo\r")  # what came so far is part of the conversation
    t.wait("are forgotten")
    t.ready()
    t.send("\x04")
    assert t.close()[0] == 0


def test_chat_second_interrupt_ends_at_once():
    t = Terminal(*LONG, "-q")
    before = t.before
    t.wait("Once")
    os.kill(t.process.pid, signal.SIGSTOP)  # so that both signals are there before it can act on the first
    os.kill(t.process.pid, signal.SIGTERM)
    os.kill(t.process.pid, signal.SIGINT)
    os.kill(t.process.pid, signal.SIGCONT)
    t.process.wait(timeout=5)
    assert t.modes() == before
    assert t.close()[0] in (130, 143)


def edit(keys, columns=80, env=None):
    """What /system stores after these keys are typed: an echo of the editor's text."""
    t = Terminal(*CHAT, columns=columns, env=env)
    t.ready()
    t.send("/system " + keys + "\r")
    t.wait("The instructions hold")
    t.send("/show\r")
    t.wait("system     ")
    text = t.wait("\n")
    t.ready()
    t.send("\x04")
    assert t.close()[0] == 0
    return text.rstrip("\r\n")


def test_editing_keys():
    assert edit("abc\x01\x06\x06\x06\x06\x06\x06\x06\x06X\x05Y") == "XabcY"    # home, right, end
    assert edit("one two\x17three") == "one three"                              # Ctrl-W
    assert edit("one two\x1b[D\x1b[D\x0bx") == "one tx"                         # left, Ctrl-K
    assert edit("h\u00e9llo\x7f\x7f\x7f\x7fi") == "hi"                          # a letter of two bytes goes as one
    assert edit("\u65e5\u672c\x1b[D\u8a9e") == "\u65e5\u8a9e\u672c"             # wide characters
    assert edit("one two\x1bbX") == "one Xtwo"                                  # Alt-B
    assert edit("ab\x1b[3~\x1b[D\x1b[3~c") == "ac"                              # Delete
    assert edit("gone\x17kept \x19") == "kept gone"                             # Ctrl-Y


def test_editing_wraps_narrow_terminals():
    text = "0123456789 " * 6
    assert edit(text + "end", columns=20) == text + "end"


def test_pasted_lines_do_not_submit():
    t = Terminal(*CHAT)
    t.ready()
    t.send("/system \x1b[200~one\rtwo\x1b[31m\x1b[201~ end")
    t.wait("... two")
    t.send("\r")
    t.wait("The instructions hold")
    t.send("/show\r")
    t.wait("system     one")
    t.wait("two")
    assert "\x1b[31m" not in t.ready()
    t.send("\x04")
    assert t.close()[0] == 0


def test_control_characters_do_not_reach_the_editor():
    pasted = "\x1b[200~a\x1b]0;t\x07b\x7f\u0085\u009b31mc\x1b[201~"
    assert edit(pasted + "\u009bd") == "a]0;tb31mcd"


def test_control_characters_are_drawn_as_others():
    """What comes from the history's file and from an editor is as it is; the terminal gets no control character."""
    history = HOME + "/state/leat/history"
    os.makedirs(os.path.dirname(history), exist_ok=True)
    kept = "/system \x1b[31m\u009b\x07\tx"
    write(history, kept + "\n")
    script = write(HOME + "/editor.sh", "printf '/system \\033[32m\\302\\233y' >\"$1\"\n")
    t = Terminal(*CHAT, env={"VISUAL": "sh " + script})
    t.ready()
    t.send("\x1b[A")
    drawn = t.wait(">>> /system \ufffd[31m\ufffd\ufffd x")
    drawn += t.wait("\x1b[21C")  # the cursor stands behind 21 columns: each of them takes one
    t.send("\x07")
    drawn += t.wait(">>> /system \ufffd[32m\ufffdy")
    assert "\x1b[31m" not in drawn and "\x1b[32m" not in drawn and "\u009b" not in drawn, drawn
    t.send("\x03")
    t.ready()
    t.send("\x04")
    assert t.close()[0] == 0
    os.unlink(history)


def test_several_lines():
    t = Terminal(*CHAT)
    t.ready()
    t.send("What is\\\r")
    t.wait("... ")
    t.send("2+2?\r")
    t.ready()
    t.send('"""\r')
    t.wait("... ")
    t.send("What is 2+2?\r")
    t.wait("... ")
    t.send('"""\r')
    t.ready()
    t.send("\x04")
    assert t.close()[0] == 0


def test_ends_of_several_lines():
    """Nothing that was typed is lost: neither behind the closing marks, nor where Ctrl-D ends the question."""
    path = HOME + "/talk.json"
    for keys, last, asked in (('"""What is\r', '2+2""" Say it.\r', "What is\n2+2 Say it."), ('"""What is 2+2?\r', "\x04", "What is 2+2?"),
                              ("What is 2+2?\\\r", "\x04", "What is 2+2?"), ('"""What\r', 'is """\r', "What\nis ")):
        t = Terminal(*CHAT, "-n", "1")
        t.ready()
        t.send(keys)
        t.wait("\r\x1b[J... ")
        t.send(last)
        t.ready()
        t.send("/save --force %s\r" % path)
        t.wait("2 messages are in")
        t.ready()
        t.send("\x04")
        assert t.close()[0] == 0
        with open(path, encoding="utf-8") as f:
            assert json.load(f)["messages"][0]["content"] == asked


def test_tab_completes_commands():
    t = Terminal(*CHAT)
    t.ready()
    t.send("/tok\t\r")
    t.wait("0 of 512 tokens")
    t.ready()
    t.send("\x04")
    assert t.close()[0] == 0


def test_history():
    path = HOME + "/state/leat/history"
    if os.path.exists(path):
        os.unlink(path)
    t = Terminal(*CHAT)
    t.ready()
    for line in ("/system first \\ thing", " /system not kept", "/tokens"):
        t.send(line + "\r")
        t.ready()
    t.send("\x04")
    assert t.close()[0] == 0
    with open(path, encoding="utf-8") as f:
        assert f.read() == "/system first \\\\ thing\n/tokens\n"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    t = Terminal(*CHAT)
    t.ready()
    t.send("\x1b[A\x1b[A\x1b[B\x1b[A\r")  # up, up, down, up
    t.wait("The instructions hold")
    t.send("/show\r")
    t.wait("system     first \\ thing")
    t.ready()
    t.send("\x04")
    assert t.close()[0] == 0
    os.unlink(path)
    t = Terminal(*CHAT, env={"LEAT_NOHISTORY": "1"})
    t.ready()
    t.send("/tokens\r")
    t.wait("of 512")
    t.ready()
    t.send("\x04")
    assert t.close()[0] == 0 and not os.path.exists(path)


def test_chat_in_a_pipe():
    result = expect(leat(*CHAT, stdin="%s\n\n/tokens\nWhat is the capital of France?\n" % SUM))
    assert result.out == "%s\n\nThe capital of France is Paris.\n\n" % SUM_ANSWER, result
    assert "\x1b" not in result.out + result.err
    dumb = Terminal(*CHAT, env={"TERM": "dumb"})
    dumb.send(SUM + "\n")
    dumb.wait(SUM_ANSWER)
    dumb.send("\x04")
    code, rest = dumb.close()
    assert code == 0 and "\x1b" not in rest and ">>>" not in rest, rest


def test_colour():
    def error_of(args=(), env=None):
        t = Terminal("walk", *args, env=env)
        return t.close()[1]

    assert "\x1b[" in error_of()
    assert "\x1b[" not in error_of(env={"NO_COLOR": "1"})
    assert "\x1b[" not in error_of(env={"TERM": "dumb"})
    assert "\x1b[" not in leat("walk").err
    assert "\x1b[" in leat("walk", env={"CLICOLOR_FORCE": "1"}).err
    assert "\x1b[" in leat("info", "no/model", "--color", "always").err
    assert "\x1b[" not in leat("info", "no/model", "--color", "never", env={"CLICOLOR_FORCE": "1"}).err


def test_control_characters_do_not_reach_the_terminal():
    ids = expect(leat("tokenize", MODEL, "--no-post-process", stdin="a\x1b[31mb\x07\u009bc\rd\te")).out.strip()
    raw = expect(leat("detokenize", MODEL, ids, text=False)).out.decode()  # as bytes: Python would turn \r into \n
    assert raw == "a\x1b[31mb\x07\u009bc\rd\te", raw
    code, shown = Terminal("detokenize", MODEL, ids).close()
    assert code == 0 and shown == "a\ufffd[31mb\ufffd\ufffdc\ufffdd\te\r\n", repr(shown)
    found = expect(leat("detokenize", MODEL, ids, "--json")).out
    assert json.loads(found)["text"] == raw and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", found), found


def test_progress_only_on_terminals():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        text = f.read()
    path = write(HOME + "/long", (text * 20)[:12000])
    args = ["eval", MODEL, path, "--ctx", "8192", "--prefill-chunk", "64", "-t", "1"]
    t = Terminal(*args)
    t.wait("\r\x1b[K", timeout=40)
    line = t.wait("left", timeout=40)
    assert "%" in line and "tok/s" in line, line
    os.kill(t.process.pid, signal.SIGINT)
    code, rest = t.close()
    assert code == 130, (code, rest)
    assert "\x1b" not in leat("run", MODEL, SUM, *FAST).err
    t = Terminal(*args, columns=20)
    t.wait("\r\x1b[K", timeout=40)
    line = t.wait("\r\x1b[K", timeout=40)
    assert re.match(r"prefill +\d+ %", line) and len(line) <= 19, line
    os.kill(t.process.pid, signal.SIGINT)
    t.close()
    t = Terminal(*args, "-v", env={"TERM": "dumb"})
    shown = t.wait(" left\r\n", timeout=40)  # lines, as in a file
    os.kill(t.process.pid, signal.SIGINT)
    assert "\x1b" not in shown + t.close()[1], shown


def test_progress_within_a_chunk():
    err = expect(leat("run", MODEL, "the fox runs " * 60, "--ctx", "512", "--prefill-chunk", "512", "-n", "0", "-v")).err
    shown = [int(percent) for percent in re.findall(r"^prefill +(\d+) %  \d+ of \d+ tokens", err, re.M)]
    assert len(shown) >= 5 and shown == sorted(shown) and shown[0] < 30 and shown[-1] == 100, err


# ---- what is installed ---------------------------------------------------------------------------------------------


PROGRAM = """#include <leat/leat.h>
#include <stdio.h>
int main(void)
{
    leat_model *model = NULL;
    leat_error error;
    if (leat_model_open("models/brook", &model, &error) != LEAT_OK) return 1;
    printf("%s %u\\n", leat_version(), leat_model_get_info(model)->layer_count);
    leat_model_close(&model);
    return 0;
}
"""


def test_installation():
    build = os.path.dirname(os.path.dirname(os.path.dirname(LEAT)))
    for tool in ("meson", "cc", "pkg-config"):
        if not shutil.which(tool):
            skip("%s is not installed" % tool)
    if not os.path.exists(build + "/build.ninja"):
        skip("%s is no build folder" % build)
    with open(build + "/meson-info/intro-buildoptions.json", encoding="utf-8") as f:
        chosen = {option["name"]: option["value"] for option in json.load(f)}
    if chosen["b_sanitize"] != "none":
        skip("a build with sanitizers")
    top, env = HOME + "/installed", environment()

    def run(*command, **more):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**env, **more}, timeout=120)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    run("meson", "install", "-C", build, "--no-rebuild", "--destdir", top)
    prefix = top + chosen["prefix"]
    libdir = os.path.join(prefix, chosen["libdir"])
    found = sorted(os.path.relpath(os.path.join(where, name), prefix) for where, _, names in os.walk(prefix) for name in names)
    version = leat("version").out.split()[1]
    assert found == sorted([
        "lib/systemd/system/leat.service", "lib/systemd/system/leat.socket",
        "bin/leat", "include/leat/leat.h", "include/leat/status.h", chosen["libdir"] + "/libleat.a", chosen["libdir"] + "/libleat.so",
        chosen["libdir"] + "/libleat.so.0", chosen["libdir"] + "/libleat.so." + version, chosen["libdir"] + "/pkgconfig/leat.pc",
        "share/bash-completion/completions/leat", "share/fish/vendor_completions.d/leat.fish", "share/man/man1/leat.1",
        "share/man/man1/leat-serve.1", "share/man/man5/leat.conf.5",
        "share/zsh/vendor-completions/_leat"]), found
    source = write(HOME + "/program.c", PROGRAM)
    flags = lambda *more: run("pkg-config", "--define-variable=prefix=" + prefix, "--cflags", "--libs", *more, "leat",
                              PKG_CONFIG_PATH=libdir + "/pkgconfig").split()
    run("cc", source, "-o", HOME + "/shared", *flags())
    assert run(HOME + "/shared", LD_LIBRARY_PATH=libdir) == "%s 9\n" % version
    archive = [libdir + "/libleat.a" if flag == "-lleat" else flag for flag in flags("--static")]
    run("cc", source, "-o", HOME + "/static", *archive)
    assert run(HOME + "/static") == "%s 9\n" % version
    assert run(prefix + "/bin/leat", "version") == leat("version").out


# ---- audits and statistics -----------------------------------------------------------------------------------------------------


AUDIT_ZERO = bytes(32)


def audit_of(*args):
    """The bytes of the audit of a run of the program."""
    path = HOME + "/audit"
    expect(leat(*args, "-q", "--audit", path))
    with open(path, "rb") as stream:
        found = stream.read()
    os.unlink(path)
    return found


def chained(bodies):
    """Lines with the chain that they ought to have, computed as docs/formats/audit.md says."""
    lines, last = [], AUDIT_ZERO
    for body in bodies:
        last = hashlib.sha256(last + body).digest()
        lines.append(body + b',"chain":"' + last.hex().encode() + b'"}\n')
    return b"".join(lines)


def bodies_of(audit):
    return [line.rpartition(b',"chain":')[0] for line in audit.splitlines()]


def write_bytes(name, content):
    path = HOME + "/" + name
    with open(path, "wb") as stream:
        stream.write(content)
    return path


def test_audit_is_what_it_says():
    ids = list(range(2, 40))
    text = ",".join(map(str, ids))
    audit = audit_of("eval", MODEL, "--tokens", text, "--logits", HOME + "/audit.npy")
    assert audit == chained(bodies_of(audit))
    header, *rows, end = map(json.loads, audit.splitlines())
    assert header["schema"] == "leat.audit/1" and re.fullmatch("[0-9a-f]{64}", header["model"]) and header["sampling"] is None
    assert end["end"] == "scored" and end["tokens"] == len(ids) == len(rows)
    _, vocab_size, logits = read_npy(HOME + "/audit.npy")
    info = json.loads(leat("info", MODEL, "--json").out)
    for position, row in enumerate(rows):
        assert row["position"] == position and row["token"] == ids[position]
        values = logits[position * vocab_size:(position + 1) * vocab_size]
        assert row["logits"] == hashlib.sha256(values.tobytes()).hexdigest(), position
        assert len(row["experts"]) == len(row["weights"]) > 0
        assert all(len(set(experts)) == len(experts) == len(rows[0]["experts"][0]) for experts in row["experts"])
    assert len({row["routes"] for row in rows}) == len(rows)
    assert info["layer_count"] >= len(rows[0]["experts"])
    os.unlink(HOME + "/audit.npy")


def test_audit_of_a_run():
    audit = audit_of("run", MODEL, SUM, *FAST)
    header, *rows, end = map(json.loads, audit.splitlines())
    answer = json.loads(leat("run", MODEL, SUM, *FAST, "--json").out)
    prompt = json.loads(leat("run", MODEL, SUM, "--show-prompt", "--json").out)["tokens"]
    assert [row["token"] for row in rows] == prompt + answer["tokens"][:-1]
    assert [row["logits"] is None for row in rows] == [True] * (len(prompt) - 1) + [False] * (len(rows) - len(prompt) + 1)
    assert end["end"] == "stop" and header["sampling"]["temperature"] == 0 and header["sampling"]["seed"] is None
    assert audit == chained(bodies_of(audit))
    drawn = audit_of("run", MODEL, SUM, "--ctx", "256", "--temp", "1", "--seed", "5", "-n", "3")
    assert json.loads(drawn.splitlines()[0])["sampling"]["seed"] == 5
    assert json.loads(drawn.splitlines()[-1])["end"] == "length"


def test_audit_is_the_same_everywhere():
    floor = plan("--ctx", "256")["floor_bytes"]
    isas = json.loads(leat("version", "--json").out)["instruction_sets"]
    ways = [["--ram", str(floor)], ["--ram", str(floor * 5 // 4)], ["--ram", str(floor * 2)], ["-t", "1"], ["-t", "3"],
            ["--prefill-chunk", "1"], ["--prefill-chunk", "7"], ["--prefill-chunk", "16"], ["--io", "buffered"], ["--io", "direct"]]
    ways += [["--isa", isa] for isa in isas]
    ways += [["--ram", str(floor), "--prefill-chunk", "3", "-t", "2", "--isa", "scalar"]]
    questions = [["run", MODEL, SUM, "--ctx", "256", "--temp", "1", "--seed", "3"],
                 ["eval", MODEL, "--tokens", ",".join(map(str, range(2, 60))), "--ctx", "256"]]
    for question in questions:
        want = audit_of(*question)
        assert want.count(b"\n") > 20
        for way in ways:
            if way == ["--io", "direct"] and leat(*question, *way).code == 5:
                continue  # the file system refuses
            if "--prefill-chunk" in way and "--ram" in way:
                way = [*way[2:], "--ram", str(plan("--ctx", "256", *way[2:])["floor_bytes"])]
            assert audit_of(*question, *way) == want, (question, way)


def test_audit_verifies():
    audit = audit_of("run", MODEL, SUM, *FAST)
    lines = audit.splitlines(keepends=True)
    last = json.loads(lines[-1])
    path = write_bytes("a", audit)
    expect(leat("audit", path), out="sound: %d tokens, chain %s\n" % (last["tokens"], last["chain"]), err="")
    found = json.loads(expect(leat("audit", path, "--json")).out)
    assert found["schema"] == "leat.audit-result/1" and found["chain"] == last["chain"] and found["token_count"] == last["tokens"]
    broken = "the chain is broken"
    cut = "the file is cut off"
    damage = {
        "a digit": (audit.replace(b'"position":3,"token":', b'"position":3,"token":1', 1), 5, broken),
        "a chain value": (audit[:-5] + (b"0" if audit[-5:-4] != b"0" else b"1") + audit[-4:], len(lines), broken),
        "two lines exchanged": (b"".join(lines[:4] + [lines[5], lines[4]] + lines[6:]), 5, broken),
        "a line taken out": (b"".join(lines[:4] + lines[5:]), 5, broken),
        "a line twice": (b"".join(lines[:5] + lines[4:]), 6, broken),
        "the end taken off": (b"".join(lines[:-1]), len(lines), cut),
        "the last newline": (audit[:-1], len(lines), cut),
        "half a line": (b"".join(lines[:6]) + lines[6][:30], 7, cut),
        "more after the end": (audit + b"{}\n", len(lines) + 1, "something after the end line"),
        "no chain": (b"".join(lines[:3]) + b'{"position":2}\n' + b"".join(lines[3:]), 4, "does not end with a chain value"),
    }
    for name, (content, line, why) in damage.items():
        assert content != audit, name
        bad = write_bytes("bad", content)
        result = expect(leat("audit", bad), 5, "")
        assert result.err.startswith("leat: error: %s: line %d: " % (bad, line)) and why in result.err, (name, result)
        expect(leat("audit", path, bad), 5, "")
    # Well chained, and still not what it should be.
    bodies = bodies_of(audit)
    for content, why in ((chained(bodies[:4] + bodies[5:]), "the file has %d" % (last["tokens"] - 1)),
                         (chained(bodies[:1] + [b'{"position":0'] + bodies[2:]), "lacks a member"),
                         (chained(bodies[:1] + [b'{"position":0,,'] + bodies[2:]), "is no JSON object"),
                         (chained(bodies[:1] * 2 + bodies[1:]), "a second first line")):
        result = expect(leat("audit", write_bytes("bad", content)), 5, "")
        assert why in result.err, result
    for content, why in ((b"", "is not an audit"), (b"hello\n", "is not an audit"), (b"\n" * 99, "is not an audit"),
                         (chained([bodies[0].replace(b"audit/1", b"audit/9")] + bodies[1:]), "expected \"leat.audit/1\"")):
        assert why in expect(leat("audit", write_bytes("bad", content)), 2, "").err
    assert "cannot be opened" in expect(leat("audit", HOME + "/nowhere"), 2, "").err
    assert "leat audit needs a file" in expect(leat("audit"), 2, "").err
    assert "unexpected argument 'c'" in expect(leat("audit", path, path, "c"), 2, "").err


def test_audit_says_where_runs_part():
    question = ["run", MODEL, "--tokens", "2,3,4,5,6,7,8", "--ctx", "256", "--temp", "0", "-n", "4", "--ignore-eos"]
    audit = audit_of(*question)
    a, bodies = write_bytes("a", audit), bodies_of(audit)
    expect(leat("audit", a, write_bytes("b", audit)), 0, "equal: 10 tokens, chain %s\n" % json.loads(audit.splitlines()[-1])["chain"], "")

    def differ(content, out, code=8):
        expect(leat("audit", a, write_bytes("b", content)), code, out, "")

    def altered(position, change):
        """The audit with one row that `change` made another one of."""
        row = json.loads(audit.splitlines()[1 + position])
        del row["chain"]
        change(row)
        return chained(bodies[:1 + position] + [json.dumps(row, separators=(",", ":"))[:-1].encode()] + bodies[2 + position:])

    other = audit_of(*question[:3], "2,3,4,9,6,7,8", *question[4:])
    differ(other, "the runs part at position 3: the token differs: 5 in A, 9 in B\n")
    row = json.loads(audit.splitlines()[5])

    def change_experts(r):
        r["experts"][3][1] = 99
        r["token"] = row["token"]

    shown = list(row["experts"][3])
    differ(altered(4, change_experts), "the runs part at position 4: the experts differ in layer 3 of those with experts: %s in A, %s in B\n" %
           (",".join(map(str, shown)), ",".join(map(str, [shown[0], 99] + shown[2:]))))
    differ(altered(4, lambda r: r["weights"].__setitem__(2, "00000000")),
           "the runs part at position 4: the experts' weights differ in layer 2 of those with experts\n")
    differ(altered(8, lambda r: r.update(logits="0" * 64)), "the runs part at position 8: the logits differ\n")
    differ(altered(8, lambda r: r.update(logits=None)), "equal: 10 tokens, chain %s\n" % json.loads(audit.splitlines()[-1])["chain"], code=0)
    differ(altered(4, lambda r: r["experts"].pop()), "the runs part at position 4: one has %d layers with experts, the other more\n" %
           (len(row["experts"]) - 1))
    longer = audit_of(*question[:-2], "6", question[-1])
    differ(longer, "the runs part at position 10: A ends, the other goes on\n")
    sampled = audit_of(*question, "--repeat-penalty", "1.0001")
    assert expect(leat("audit", a, write_bytes("b", sampled)), 8).out.startswith("the settings of sampling differ\n")
    strange = bodies[0].replace(json.loads(audit.splitlines()[0])["model"].encode(), b"f" * 64)
    assert expect(leat("audit", a, write_bytes("b", chained([strange] + bodies[1:]))), 8).out.startswith("the models differ: ")
    found = json.loads(expect(leat("audit", a, write_bytes("b", other), "--json"), 8).out)
    assert not found["is_equal"] and found["difference"] == {"what": "token", "position": 3, "layer": 0, "a": "5", "b": "9"}


def test_audit_file_problems():
    assert "--audit: /nowhere/x: cannot be created" in expect(leat("run", MODEL, SUM, *FAST, "--audit", "/nowhere/x"), 5, "").err
    assert "--audit: /dev/full: write failed" in expect(leat("run", MODEL, SUM, *FAST, "--audit", "/dev/full"), 5).err
    path = write_bytes("old", b"x" * 1000000)
    expect(leat("eval", MODEL, "--tokens", "2,3,4,5,6,7,8,9", "--ctx", "4", "--audit", path), 7)
    assert os.path.getsize(path) == 1000000, "a refused run has emptied the old file"
    expect(leat("eval", MODEL, "--tokens", "2,3", "--ctx", "64", "--audit", path))
    expect(leat("audit", path), err="")
    expect(leat("eval", MODEL, "--tokens", "2,3", "--ctx", "64", "--audit", "/dev/null"))


def stats_of(*args):
    """The document of --stats, which has to be the same on standard error and in a file."""
    path = HOME + "/stats"
    result = expect(leat(*args, "-q", "--stats", "json"))
    on_error = json.loads(result.err)
    expect(leat(*args, "-q", "--stats", path), err="")
    with open(path, encoding="utf-8") as stream:
        in_file = json.load(stream)
    os.unlink(path)
    assert on_error.keys() == in_file.keys() and on_error["schema"] == in_file["schema"] == "leat.stats/1"
    return [on_error, in_file]


def check_times(times):
    """The parts, each measured on its own, sum to the time between start and end."""
    parts = times["parts"]
    total = sum(parts.values())
    assert abs(total - times["wall_s"]) <= 0.03 * times["wall_s"], (total, times)
    assert min(parts.values()) >= 0, parts


def test_stats_time_adds_up():
    floor = plan("--ctx", "256")["floor_bytes"]
    tokens = ",".join(str(2 + i * 7 % 500) for i in range(200))
    for args in (["run", MODEL, "Tell me a story.", *FAST], ["run", MODEL, "Tell me a story.", *FAST, "--ram", str(floor)],
                 ["run", MODEL, "--tokens", tokens, "--ctx", "256", "-n", "1", "--audit", HOME + "/audit"],
                 ["eval", MODEL, "--tokens", tokens]):
        for found in stats_of(*args):
            check_times(found["times"])
            parts = found["times"]["parts"]
            for name in ("load_s", "attention_s", "ffn_s", "router_s", "moe_s", "step_other_s", "head_s", "other_s"):
                assert parts[name] > 0, (name, parts)
            assert (parts["sampling_s"] > 0) == (args[0] == "run")
            assert (parts["text_s"] > 0) == (args[2] != "--tokens" or args[0] == "run"), parts
            assert parts["disk_wait_s"] >= found["experts"]["wait_s"] > 0
            times = found["times"]
            assert parts["disk_wait_s"] >= times["trunk_wait_s"] >= 0
            assert parts["load_s"] <= times["ready_s"] <= times["wall_s"], times
            if args[0] == "run":
                assert times["ready_s"] < times["first_token_s"] <= times["wall_s"], times
            else:
                assert times["first_token_s"] == 0, times
    answer = json.loads(expect(leat("run", MODEL, SUM, *FAST, "--json")).out)
    check_times(answer["times"])
    line = [line for line in leat("run", MODEL, SUM, *FAST, "-v").err.splitlines() if line.startswith("time ")]
    assert len(line) == 1
    percents = [float(part) for part in re.findall(r" (\d+\.\d)(?= [+%])", line[0])]
    assert len(percents) >= 8 and abs(sum(percents) - 100) < 4, line


def test_stats_memory_is_there():
    """The pools are memory that the process has: no more than its peak, and what is filled by use is resident."""
    tokens = ",".join(str(2 + i * 7 % 500) for i in range(200))
    for found in stats_of("eval", MODEL, "--tokens", tokens):
        memory = found["memory"]
        pools = {pool["name"]: pool for pool in memory["pools"]}
        filled = pools["trunk"]["current_bytes"] + pools["experts"]["current_bytes"]
        assert filled <= memory["rss_peak_bytes"] <= memory["budget_bytes"] + 24 * 1024 * 1024 or "asan" in LEAT, memory
        assert found["io"]["read_bytes"] >= found["io"]["payload_bytes"] > 0


def test_stats_file_problems():
    assert "--stats: /nowhere/x: cannot be created" in expect(leat("run", MODEL, SUM, *FAST, "--stats", "/nowhere/x"), 5).err
    assert "--stats: /dev/full: write failed" in expect(leat("run", MODEL, SUM, *FAST, "--stats", "/dev/full"), 5).err


def test_files_of_results_are_opened_first():
    """A name that cannot be written is known before the work, which leaves no answer then; work that fails leaves no file."""
    tokens = ["--tokens", "2,3", "--ctx", "64"]
    for option, verb in (("--stats", ["run", MODEL, SUM, *FAST]), ("--stats", ["eval", MODEL, *tokens]), ("--logits", ["eval", MODEL, *tokens]),
                         ("--svg", ["pareto", MODEL, "--probe", "off"])):
        failed = expect(leat(*verb, option, "/nowhere/x"), 5, "").err
        assert "/nowhere/x: cannot be created: No such file or directory" in failed and len(failed.splitlines()) == 1, failed
        folder = HOME + "/results"
        path = write(folder + "/x", "old")
        expect(leat(verb[0], "no/such/model", *verb[2:], option, path), 3, "")
        expect(leat(*verb, "--ram", "1M", option, path), 4, "")
        assert os.listdir(folder) == ["x"] and open(path).read() == "old"
        expect(leat(*verb, option, path))
        assert os.listdir(folder) == ["x"] and open(path, "rb").read() != b"old"


# ---- the runner ------------------------------------------------------------------------------------------------------------------------------


def end_started():
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
    started.clear()


def main():
    global LEAT, HOME
    LEAT = os.path.abspath(sys.argv[1])
    chat_cases.use(sys.modules[__name__])
    cases = case_runner.cases_of(globals()) + case_runner.cases_of(chat_cases)
    with tempfile.TemporaryDirectory(prefix="leat-cli-") as HOME:
        status = case_runner.run(cases, sys.argv[2:], after=end_started)
    sys.exit(status)


if __name__ == "__main__":
    main()

"""Chat templates: what transformers renders, and the ids it encodes that to; Jinja snippets."""
import filecmp
import json
import os
import subprocess

from leat_program import Case


def load(*path):
    with open(os.path.join(*path), encoding="utf-8") as stream:
        return json.load(stream)


def read_template(folder, name):
    with open(os.path.join(folder, name + ".jinja"), encoding="utf-8", newline="") as stream:
        return stream.read()


def batch(leat, rows):
    """The answers to rows of `leat template --batch`, one for each."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    done = subprocess.run([leat.program, "template", "--batch"], input=lines.encode(), capture_output=True, timeout=300,
                          env=leat.environment)
    assert done.returncode == 0, "exit code %d: %s" % (done.returncode, done.stderr.decode(errors="replace"))
    answers = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert len(answers) == len(rows), "%d answers to %d lines" % (len(answers), len(rows))
    return answers


def is_as_expected(wanted, got):
    """A rendering byte for byte; a raised message word for word; for other errors that there is one. `lenient` is what
    other engines give where the reference refuses."""
    if "rendered" in wanted:
        return got.get("rendered") == wanted["rendered"]
    if "lenient" in wanted and got.get("rendered") == wanted["lenient"]:
        return True
    error = wanted["error"]
    return "error" in got and (error["kind"] != "raised" or
                               (got["error"]["kind"] == "raised" and error["message"] == got["error"]["message"]))


def check_template(leat, folder, name):
    cases = load(folder, "cases.json")
    by_name = {case["name"]: case for case in cases["cases"]}
    wanted = load(folder, "expected", name + ".json")
    text = read_template(folder, name)
    rows = []
    for row in wanted:
        chat = {"special_tokens": cases["special_tokens"], **by_name[row["case"]], "now": cases["now"]}
        rows.append({"template": text, "chat": chat})
    for row, got in zip(wanted, batch(leat, rows)):
        assert is_as_expected(row, got), "%s: %r, expected %r" % (row["case"], got, row)


def check_snippets(leat, path):
    document = load(path)
    rows = [{"template": case["template"], "context": case.get("context", {}), "now": document["now"]}
            for case in document["cases"]]
    wrong = []
    for case, got in zip(document["cases"], batch(leat, rows)):
        wanted = {"rendered": case["expected"]} if "expected" in case else {"error": case["error"]}
        if not is_as_expected(wanted, got):
            wrong.append("%s: %r, expected %r" % (case["name"], got, wanted))
    assert not wrong, "%d of %d snippets: %s" % (len(wrong), len(rows), "; ".join(wrong[:5]))


def check_ids(leat, base, rows, now):
    """Text of messages that looks like control tokens stays text."""
    templates = os.path.join(base, "templates")
    by_name = {case["name"]: case for case in load(templates, "cases.json")["cases"]}
    for row in rows:
        path = leat.file(".json")
        with open(path, "w", encoding="utf-8") as stream:
            json.dump({**by_name[row["case"]], "now": now}, stream)
        template = os.path.join(templates, row["template"] + ".jinja")
        tokenizer = os.path.join(base, "tokenizers", row["tokenizer"])
        args = ("template", tokenizer, "--template", template, "--chat", path, "--json", "-q")
        if "rendered" in row:
            got = leat.json(*args)
            for name, wanted in (("rendered", row["rendered"]), ("tokens", row["ids_sanitized"])):
                assert got[name] == wanted, "%s: %s: %r, expected %r" % (leat.shown(args), name, got[name], wanted)
        elif row["error"]["kind"] == "raised":
            assert leat.run(*args).code == 2, "%s: expected the template to raise" % leat.shown(args)


def check_copied_files(copies, originals):
    """The templates in this folder are those of the full set."""
    for folder, _, files in os.walk(copies):
        for name in files:
            path = os.path.join(folder, name)
            other = os.path.join(originals, os.path.relpath(path, copies))
            if name == "found.json":  # this project's own
                continue
            assert name == "README.md" or filecmp.cmp(path, other, shallow=False), "%s differs from %s" % (path, other)


def template_cases(leat, base, is_full, copies):
    folder = os.path.join(base, "templates")
    names = sorted(name[:-6] for name in os.listdir(folder) if name.endswith(".jinja"))
    cases = [Case("templates: " + name, check_template, leat, folder, name, seconds=0.5) for name in names]
    cases.append(Case("jinja: snippets", check_snippets, leat, os.path.join(base, "jinja", "cases.json"), seconds=2.0))
    cases.append(Case("jinja: found", check_snippets, leat, os.path.join(copies, "jinja", "found.json")))
    document = load(base, "tokenizers", "chat.json")
    for tokenizer in sorted({row["tokenizer"] for row in document["cases"]}):
        rows = [row for row in document["cases"] if row["tokenizer"] == tokenizer]
        cases.append(Case("chat ids: " + tokenizer, check_ids, leat, base, rows, document["now"], seconds=0.5))
    if is_full:
        cases.append(Case("copies: templates", check_copied_files, os.path.join(copies, "templates"), folder))
        cases.append(Case("copies: jinja", check_copied_files, os.path.join(copies, "jinja"),
                          os.path.join(base, "jinja")))
    return cases

"""Round trips: what a model of each family wrote, read by `leat parse` and rendered again by its own template with
`leat template`, is the same bytes."""
import json
import os
import subprocess

from leat_program import Case, Skipped

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "answers")


def lines_of(leat, verb, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    result = subprocess.run([leat, verb, "--batch"], input=text, capture_output=True, text=True, timeout=300)
    return [json.loads(line) for line in result.stdout.splitlines()], result


def parse_all(leat, tools, cases, template_of):
    rows = []
    for case in cases:
        size = len(case["text"].encode())
        row = {"text": case["text"], "prompt": case["prompt"], "tools": tools, "cuts": [size // 3, size // 2]}
        row.update({"template_file": template_of(case)} if template_of(case) else {"format": case["format"]})
        rows.append(row)
    found, result = lines_of(leat, "parse", rows)
    assert len(found) == len(rows), result.stderr
    return found


def as_case(message):
    """In the shape of the file's messages."""
    calls = [dict(call["function"], **({"id": call["id"]} if "id" in call else {})) for call in message.pop("tool_calls", [])]
    message.pop("role")
    return dict(message, **({"tool_calls": calls} if calls else {}))


def conversation(case, message, tools):
    """The parsed message behind the question that make_cases.py asks; calls as a server hands them to a template."""
    answer = {"role": "assistant", **{k: v for k, v in message.items() if k != "tool_calls"}}
    if "tool_calls" in message:
        answer["tool_calls"] = [{"id": "call0000%d" % i, "type": "function", "function": {"name": call["name"], "arguments": json.loads(call["arguments"])}}
                                for i, call in enumerate(message["tool_calls"])]
    return {"messages": [{"role": "user", "content": "A question?"}, answer], "tools": tools, "add_generation_prompt": False,
            "kwargs": case["kwargs"], "special_tokens": {"bos_token": "<s>", "eos_token": "</s>"}, "now": "2026-03-04T05:06:07"}


def answer_cases(leat, conformance):
    program = leat.program
    file = json.load(open(os.path.join(FOLDER, "cases.json"), encoding="utf-8"))
    tools, cases = file["tools"], file["cases"]
    templates = os.path.join(conformance, "templates")

    def template_of(case):
        """Its path; None where this set has not the template."""
        path = os.path.join(templates, case.get("template", "") + ".jinja")
        return path if os.path.exists(path) else None

    def read():
        for case, found in zip(cases, parse_all(program, tools, cases, template_of)):
            assert "message" in found, (case["name"], found)
            assert found["format"] == case["format"], (case["name"], found["format"])
            got = as_case(found["message"])
            assert got == case["message"], "%s: %s, expected %s" % (case["name"], got, case["message"])

    def round_trip():
        if " template " not in subprocess.run([program, "help"], capture_output=True, text=True).stdout:
            raise Skipped("this leat has no verb template")
        own = [case for case in cases if template_of(case)]
        assert len(own) > 50, len(own)
        found = parse_all(program, tools, own, template_of)
        rows = [{"template_file": template_of(case), "chat": conversation(case, as_case(answer["message"]), tools)}
                for case, answer in zip(own, found)]
        rendered, result = lines_of(program, "template", rows)
        assert len(rendered) == len(rows), result.stderr
        for case, row in zip(own, rendered):
            assert "rendered" in row, (case["name"], row)
            assert case["prompt"] + case["text"] in row["rendered"], "%s: %r is not in %r" % (
                case["name"], case["text"], row["rendered"][-600:])

    return [Case("answers: read", read, seconds=1), Case("answers: round trip", round_trip, seconds=1)]

"""Makes cases.json: what models of each family write, and the messages that it must be read as.

    make_cases.py CONFORMANCE > cases.json

CONFORMANCE holds templates/*.jinja. Needs jinja2. A conversation is rendered up to an assistant's message and with it;
the difference is what a model of that family would have written. What must be read is the message itself, as far as the
template wrote it, with arguments typed as the tool's schema says. Each case is checked here to render to the same bytes
again from the expected message. Forms that no template here writes are written by hand at the end: single answers, and
for families whose templates are not in CONFORMANCE a function that writes the answers above as their models do (those
with arguments in tags of their own: tagged_families.py).
"""
import copy
import datetime
import json
import os
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

import tagged_families

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": {
        "type": "object", "properties": {"location": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
        "required": ["location"]}}},
    {"type": "function", "function": {"name": "plan_trip", "description": "Plan.", "parameters": {
        "type": "object", "properties": {
            "stops": {"type": "array"}, "budget": {"type": "number"}, "days": {"type": "integer"}, "flag": {"type": "boolean"},
            "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "options": {"type": "object"}, "text": {"type": "string"},
            "b": {"type": "string"}}}}},
    {"type": "function", "function": {"name": "now", "description": "Time.", "parameters": {"type": "object", "properties": {}}}},
]
# Labels that say how arguments come back: "json" as they are, "sorted" by key, "typed" by the schema alone.
TEMPLATES = {
    "CohereForAI-c4ai-command-r-plus-tool_use": ("command_r", "json", "<|END_OF_TURN_TOKEN|>"),
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": ("command_r7b", "json", "<|END_OF_TURN_TOKEN|>"),
    "GLM-4.6": ("glm4", "json", ""),
    "HuggingFaceTB-SmolLM3-3B": ("generic", "json", "<|im_end|>\n"),
    "Kimi-K2-Instruct": ("kimi_k2", "json", "<|im_end|>"),
    "MiniMax-M2": ("minimax_m2", "json", "[e~[\n"),
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": ("nemotron3", "json", "<|im_end|>\n"),
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": ("hermes", "json", "<|im_end|>\n"),
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": ("hermes", "json", "<|im_end|>\n"),
    "Qwen-Qwen2.5-7B-Instruct": ("hermes", "json", "<|im_end|>\n"),
    "Qwen-Qwen3-0.6B": ("hermes", "json", "<|im_end|>\n"),
    "Qwen3-Coder": ("qwen3_coder", "json", "<|im_end|>\n"),
    "Qwen3.5-4B": ("qwen3_coder", "json", "<|im_end|>\n"),
    "deepseek-ai-DeepSeek-V3.1": ("deepseek_v3.1", "json", "<｜end▁of▁sentence｜>"),
    "deepseek-ai-DeepSeek-V3.2": ("deepseek_dsml", "json", "<｜end▁of▁sentence｜>"),
    "google-gemma-2-2b-it": ("generic", "json", "<end_of_turn>\n"),
    "google-gemma-4-31B-it-interleaved": ("gemma4", "sorted", "<turn|>\n"),
    "google-gemma-4-31B-it": ("gemma4", "sorted", "<turn|>\n"),
    "ibm-granite-granite-4.0": ("hermes", "json", "<|end_of_text|>\n"),
    "meta-llama-Llama-3.1-8B-Instruct": ("llama3", "json", "<|eot_id|>"),
    "meta-llama-Llama-3.3-70B-Instruct": ("llama3", "json", "<|eot_id|>"),
    "microsoft-Phi-3.5-mini-instruct": ("generic", "json", "<|end|>\n"),
    "mistralai-Mistral-Nemo-Instruct-2407": ("mistral", "json", "</s>"),
    "openai-gpt-oss-120b": ("harmony", "json", "<|return|>"),
}


def call(name, arguments, number=0):
    return {"id": "call0000%d" % number, "type": "function", "function": {"name": name, "arguments": arguments}}


PARIS = {"location": "Paris, France", "unit": "celsius"}
TYPES = {"stops": [{"place": "Łódź", "days": 2, "tags": []}, {"place": "\"X\"\n<y>", "days": 0}], "budget": 1234.5, "days": -3,
         "flag": True, "maybe": 12345678901234567890, "options": {"a": {"b": [None, False, 1e-07]}}, "text": "multi\nline 'q' \\"}
HARD = {"text": "</tool_call> <tool_call>{}</tool_call> {\"a\": [1", "b": "日本 \t{[</parameter>]}"}
EDGE = {"text": "", "b": "null"}
LINES = {"text": "\n\nlines\n\n", "b": "12"}
ANSWERS = [
    ("text", {"content": "Hello — <b>it's</b> 3 < 4, [1] and {\"json\": true}."}),
    ("lines", {"content": "First.\n\nSecond.\n\n```c\nif (a < b) return;\n```\nEnd"}),
    ("unicode", {"content": "Grüße 👩‍👩‍👧‍👦 日本語"}),
    ("reasoning", {"content": "Four.", "reasoning_content": "Add two and two.\n\nIt is < 5."}),
    ("call", {"content": "", "tool_calls": [call("get_weather", PARIS)]}),
    ("call_no_arguments", {"content": "", "tool_calls": [call("now", {})]}),
    ("call_after_text", {"content": "Let me look.", "tool_calls": [call("get_weather", PARIS)]}),
    ("calls", {"content": "", "tool_calls": [call("get_weather", PARIS), call("now", {}, 1), call("get_weather", {"location": "Oslo"}, 2)]}),
    ("calls_after_text", {"content": "Two:\n\n- a\n- b", "tool_calls": [call("get_weather", PARIS), call("now", {}, 1)]}),
    ("types", {"content": "", "tool_calls": [call("plan_trip", TYPES)]}),
    ("hard", {"content": "", "tool_calls": [call("plan_trip", HARD)]}),
    ("edge", {"content": "", "tool_calls": [call("plan_trip", EDGE)]}),
    ("inner_lines", {"content": "", "tool_calls": [call("plan_trip", LINES)]}),
    ("reasoning_call", {"content": "", "reasoning_content": "I need\nthe tool.", "tool_calls": [call("get_weather", PARIS)]}),
    ("reasoning_text_calls", {"content": "So:", "reasoning_content": "Hm.",
                              "tool_calls": [call("get_weather", PARIS), call("plan_trip", TYPES, 1)]}),
]


def compile_template(source):
    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            next(parser.stream)
            return parser.parse_statements(["name:endgeneration"], drop_needle=True)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.filters["from_json"] = json.loads
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime(2026, 3, 4).strftime(f)
    return env.from_string(source)


def render(template, messages, prompt, extra):
    messages = copy.deepcopy(messages)
    for message in messages:
        if "reasoning_content" in message:
            message["thinking"] = message["reasoning_content"]
    return template.render(messages=messages, tools=TOOLS, documents=None, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>",
                           **extra)


def written(template, label, answer, end, extra):
    """(prompt, what the model wrote) or None: the template does not write such answers"""
    before = [{"role": "user", "content": "A question?"}]
    after = before + [dict(answer, role="assistant")]
    try:
        prompt = render(template, before, True, extra)
        whole = render(template, after, False, extra)
    except (jinja2.exceptions.TemplateError, TypeError):
        return None
    if label == "harmony" and "tool_calls" in answer:
        end = "<|call|>"
    if label == "gemma4" and whole.endswith("<|tool_response>"):
        end = "<|tool_response>"
    if label == "command_r7b":
        whole = whole[:whole.rindex("<|START_OF_TURN_TOKEN|>")]
    if label == "command_r":
        whole = whole[:whole.rindex("<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Write")].rstrip("\n") + end
        prompt = whole[:whole.rindex("<|CHATBOT_TOKEN|>") + len("<|CHATBOT_TOKEN|>")]
        whole = whole.replace(end + end, end)
    while not whole.startswith(prompt):  # history leaves out what a prompt about to think or not has
        shorter = None
        for tail in ("<think>\n\n</think>\n\n", "<think>\n\n</think>\n", "<think></think>", "<think>\n", "\n<think></think>",
                     "<|channel>thought\n<channel|>", "<think>", "<|START_THINKING|><|END_THINKING|>"):
            if prompt.endswith(tail):
                shorter = prompt[:-len(tail)]
                break
        if shorter is None:
            return None
        prompt = shorter
    raw = whole[len(prompt):]
    if not raw.endswith(end):
        raw = raw if label != "microsoft" else raw
        cut = raw.rfind(end)
        if cut < 0:
            return None
        raw = raw[:cut]
    elif end:
        raw = raw[:-len(end)]
    return prompt, raw, end


def typed(label, name, key, value, unsorted):
    """What a family that writes bare text gives back for a parameter that its schema does not fully settle."""
    properties = next(t for t in TOOLS if t["function"]["name"] == name)["function"]["parameters"]["properties"]
    assert key in properties, key
    return value


def expect(label, kind, answer, raw):
    message = {"content": answer["content"] if answer["content"] and answer["content"] in raw else ""}
    if answer.get("reasoning_content") and answer["reasoning_content"] in raw:
        message["reasoning_content"] = answer["reasoning_content"]
    calls = []
    for i, c in enumerate(answer.get("tool_calls", [])):
        f = c["function"]
        if '%s' % f["name"] not in raw:
            continue
        arguments = f["arguments"]
        if kind == "sorted":
            arguments = sort_all(arguments)
        row = {"name": f["name"], "arguments": json.dumps(arguments, ensure_ascii=False)}
        if label == "mistral":
            row["id"] = c["id"]
        if label == "kimi_k2":
            row["id"] = "functions.%s:%d" % (f["name"], i)
        if label == "command_r7b":
            row["id"] = str(i)
        calls.append(row)
    if label == "harmony":  # one call a message
        calls = calls[:1]
        if "tool_calls" in answer and answer["content"] and message["content"]:
            message["reasoning_content"] = message.pop("content")
            message["content"] = ""
    if calls:
        message["tool_calls"] = calls
    return message


def sort_all(value):
    if isinstance(value, dict):
        return {k: sort_all(value[k]) for k in sorted(value, key=str.lower)}
    return [sort_all(v) for v in value] if isinstance(value, list) else value


def as_answer(message):
    answer = {k: v for k, v in message.items() if k != "tool_calls"}
    if "tool_calls" in message:
        answer["tool_calls"] = [dict(call(c["name"], json.loads(c["arguments"]), i)) for i, c in enumerate(message["tool_calls"])]
    return answer


def cases_of(folder, name):
    label, kind, end = TEMPLATES[name]
    template = compile_template(open(os.path.join(folder, name + ".jinja"), encoding="utf-8", newline="").read())
    seen = set()
    for extra_name, extra in (("", {}), ("thinking", {"enable_thinking": True, "thinking": True}), ("quiet", {"enable_thinking": False, "thinking": False})):
        for answer_name, answer in ANSWERS:
            found = written(template, label, answer, end, extra)
            if found is None:
                continue
            prompt, raw, mark = found
            if (prompt[-40:], raw) in seen:
                continue
            seen.add((prompt[-40:], raw))
            message = expect(label, kind, answer, raw)
            again = written(template, label, as_answer(message), end, extra)
            if again is None or again[1] != raw:
                sys.stderr.write("%s %s %s: does not render again\n" % (name, answer_name, extra))
                continue
            yield {"name": "/".join(x for x in (name, answer_name, extra_name) if x), "template": name, "format": label, "prompt": prompt[-40:],
                   "text": raw, "end": mark.strip("\n"), "message": message, "kwargs": extra}


def by_hand():
    weather = {"name": "get_weather", "arguments": json.dumps(PARIS)}
    args = json.dumps(PARIS)
    rows = [
        ("mistral_named", "[/INST]", "[TOOL_CALLS]get_weather[ARGS]" + args + "[TOOL_CALLS]now[ARGS]{}",
         {"content": "", "tool_calls": [weather, {"name": "now", "arguments": "{}"}]}),
        ("mistral_named", "[/INST]", "[THINK]Hm.\nSo.[/THINK]Look:[TOOL_CALLS]get_weather[CALL_ID]abcDEF123[ARGS]" + args,
         {"content": "Look:", "reasoning_content": "Hm.\nSo.", "tool_calls": [dict(weather, id="abcDEF123")]}),
        ("deepseek_v3", "<｜Assistant｜>", "Look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n" + args +
         "\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
         {"content": "Look.", "tool_calls": [weather, {"name": "now", "arguments": "{}"}]}),
        ("deepseek_v3", "<｜Assistant｜><think>\n", "First.\nThen.\n</think>\n\nDone.", {"content": "Done.", "reasoning_content": "First.\nThen."}),
        ("harmony", "<|start|>assistant", "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather "
         "<|constrain|>json<|message|>" + args + "<|call|>", {"content": "", "reasoning_content": "Hm.", "tool_calls": [weather]}),
        ("harmony", "<|start|>assistant", "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant to=functions.get_weather<|channel|>"
         "commentary json<|message|>" + args, {"content": "I look.", "tool_calls": [weather]}),
        ("harmony", "<|start|>assistant<|channel|>analysis<|message|>", "Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
         {"content": "Yes.", "reasoning_content": "Hm."}),
        ("llama3", "<|end_header_id|>\n\n", "<|python_tag|>get_weather.call(location=\"Paris, \"France\"\", unit=\"celsius\")",
         {"content": "", "tool_calls": [{"name": "get_weather", "arguments": json.dumps({"location": "Paris, \"France\"", "unit": "celsius"})}]}),
        ("llama3", "<|end_header_id|>\n\n", "<|python_tag|>{\"name\": \"now\", \"parameters\": {}}", {"content": "", "tool_calls": [{"name": "now", "arguments": "{}"}]}),
        ("llama3", "<|end_header_id|>\n\n", "{\"type\": \"function\", \"name\": \"now\", \"parameters\": null}", {"content": "", "tool_calls": [{"name": "now", "arguments": "{}"}]}),
        ("llama3", "<|end_header_id|>\n\n", "{\"name\": \"nobody\", \"parameters\": {}}", {"content": "{\"name\": \"nobody\", \"parameters\": {}}"}),
        ("llama3", "<|end_header_id|>\n\n", "{\"answer\": 42}", {"content": "{\"answer\": 42}"}),
        ("glm4", "<|assistant|><think>", "Hm.</think><tool_call>plan_trip<arg_key>text</arg_key><arg_value>12</arg_value><arg_key>days</arg_key>"
         "<arg_value>12</arg_value></tool_call>", {"content": "", "reasoning_content": "Hm.", "tool_calls": [
             {"name": "plan_trip", "arguments": "{\"text\": \"12\", \"days\": 12}"}]}),
        ("glm4", "<|assistant|></think>", "Hello.", {"content": "Hello."}),
        ("hermes", "assistant\n<think>\n", "Hm.\n</think>\n\nYes.", {"content": "Yes.", "reasoning_content": "Hm."}),
        ("hermes", "assistant\n", "<tool_call>\n<function=now>\n</function>\n</tool_call>", {"content": "", "tool_calls": [{"name": "now", "arguments": "{}"}]}),
        ("hermes", "assistant\n", "<tool_call>{\"arguments\":{\"location\":\"\\u0141\\ud83d\\ude00\",\"n\":[1,2 , {}]},\"name\":\"get_weather\"}</tool_call>",
         {"content": "", "tool_calls": [{"name": "get_weather", "arguments": "{\"location\": \"Ł😀\", \"n\": [1, 2, {}]}"}]}),
        ("hermes", "assistant\n", "<tool_call>\n{\"name\": \"now\", \"arguments\": \"{\\\"a\\\":1}\"}\n</tool_call>",
         {"content": "", "tool_calls": [{"name": "now", "arguments": "{\"a\": 1}"}]}),
        ("hermes", "assistant\n", "Broken: <tool_call>\n{\"name\": now}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>",
         {"content": "Broken: <tool_call>\n{\"name\": now}\n</tool_call>", "tool_calls": [{"name": "now", "arguments": "{}"}]}),
        ("hermes", "assistant\n", "Say <tool_call> and <think> and </think>.", {"content": "Say <tool_call> and <think> and </think>."}),
        ("qwen3_coder", "assistant\n", "<tool_call>\n<function=plan_trip>\n<parameter=stops>\nnot a list\n</parameter>\n<parameter=flag>\nfalse\n</parameter>\n"
         "<parameter=maybe>\nNone\n</parameter>\n<parameter=days>\nnull\n</parameter>\n<parameter=new>\n5\n</parameter>\n</function>\n</tool_call>",
         {"content": "", "tool_calls": [{"name": "plan_trip",
                                         "arguments": "{\"stops\": \"not a list\", \"flag\": false, \"maybe\": null, \"days\": null, \"new\": \"5\"}"}]}),
        ("gemma4", "<|turn>model\n", "<|channel>thought\nHm.\n<channel|>Yes.<turn|>", {"content": "Yes.", "reasoning_content": "Hm."}),
        ("gemma4", "<|channel>thought\n<channel|>", "<|channel>thought\n<channel|>Yes.", {"content": "Yes."}),
        ("gemma4", "<|turn>model\n", "<|tool_call>call:plan_trip{text:<|\"|>{a}<|\"|>,days:2,options:{flag:true,b:null,c:[1,<|\"|>]<|\"|>]}}<tool_call|><|tool_response>",
         {"content": "", "tool_calls": [{"name": "plan_trip", "arguments": "{\"text\": \"{a}\", \"days\": 2, \"options\": {\"flag\": true, \"b\": null, \"c\": [1, \"]\"]}}"}]}),
        ("generic", "assistant\n", "\n<think>Hm.</think>\n\nYes.", {"content": "Yes.", "reasoning_content": "Hm."}),
        ("qwen3_coder", "assistant\n", "<tool_call>\n<function=plan_trip>\n<parameter=flag>\nTRUE\n</parameter>\n<parameter=b>\nnull\n</parameter>\n</function>\n<function=plan_trip>\n<parameter=flag>\nyes\n</parameter>\n</function>\n<function=plan_trip>\n<parameter=flag>\nNone\n</parameter>\n</function>\n</tool_call>",
         {"content": "", "tool_calls": [{"name": "plan_trip", "arguments": "{\"flag\": true, \"b\": \"null\"}"}, {"name": "plan_trip", "arguments": "{\"flag\": false}"}, {"name": "plan_trip", "arguments": "{\"flag\": null}"}]}),
        ("glm4", "<|assistant|><think>", "</think><tool_call>plan_trip<arg_key>flag</arg_key><arg_value>yes</arg_value></tool_call>",
         {"content": "", "tool_calls": [{"name": "plan_trip", "arguments": "{\"flag\": \"yes\"}"}]}),
    ]
    for i, (label, prompt, text, message) in enumerate(rows):
        yield {"name": "hand/%02d/%s" % (i, label), "format": label, "prompt": prompt, "text": text, "message": message}


def json_calls(calls, between=", ", names=("name", "arguments")):
    return between.join(json.dumps({names[0]: c["function"]["name"], names[1]: c["function"]["arguments"]}, ensure_ascii=False) for c in calls)


def python_calls(calls):
    return ", ".join("%s(%s)" % (c["function"]["name"], ", ".join("%s=%r" % pair for pair in c["function"]["arguments"].items())) for c in calls)


def joined(text, between, calls):
    return text + (between if text and calls else "") + calls


def listed(opening, closing, between=""):
    """Text, then one block of calls that are a list of JSON."""
    return lambda text, calls: joined(text, between, opening + json_calls(calls) + closing if calls else "")


def apertus(text, calls):
    rows = ", ".join(json.dumps({c["function"]["name"]: c["function"]["arguments"]}, ensure_ascii=False) for c in calls)
    return text + ("<|tools_prefix|>[" + rows + "]<|tools_suffix|>" if calls else "")


def solar(text, calls):
    if calls:
        return None if text else "<|tool_calls|>" + "".join(
            "<|tool_call:begin|>%s<|tool_call:name|>%s<|tool_call:args|>%s<|tool_call:end|>" % (c["id"], c["function"]["name"], json.dumps(
                c["function"]["arguments"], ensure_ascii=False)) for c in calls) + "<|calls|>"
    return "<|content|>" + text


def recipients(text, calls):
    parts = ["all\n" + text] if text else []
    parts += ["%s\n%s" % (c["function"]["name"], json.dumps(c["function"]["arguments"], ensure_ascii=False)) for c in calls]
    return ">>>".join(parts)


def functions(text, calls):
    return text + "".join("<function=%s>%s</function>" % (c["function"]["name"], json.dumps(c["function"]["arguments"], ensure_ascii=False))
                          for c in calls)


def lines(text, calls):
    return joined(text, "\n", "<tool_calls>\n" + json_calls(calls, "\n") + "\n</tool_calls>" if calls else "")


def tags(text, calls):
    return " " + joined(text, "\n", "".join("<tool_call>\n%s\n</tool_call>" % json_calls([c]) for c in calls))


# label: the prompt's end, the mark that ends a turn, how text and calls are written, around reasoning, how many calls
FAMILIES = [
    ("apertus", "<|assistant_start|>", "<|assistant_end|>", apertus, ("<|inner_prefix|>", "<|inner_suffix|>"), 9),
    ("apriel", "<|assistant|>\n", "\n<|end|>", listed("<tool_calls>[", "]</tool_calls>", "\n"),
     ("Here are my reasoning steps:\n", "\n[BEGIN FINAL RESPONSE]\n"), 9),
    ("minimax_m1", "ai name=assistant\n", "<end_of_sentence>", lines, ("<think>\n", "\n</think>\n\n"), 9),
    ("nemotron_v2", "<SPECIAL_11>Assistant\n", "\n<SPECIAL_12>", listed("<TOOLCALL>[", "]</TOOLCALL>", "\n"), ("<think>\n", "\n</think>\n\n"), 9),
    ("gigachat3", "assistant<|role_sep|>\n", "<|message_sep|>\n\n", lambda text, calls: text + (
        "<|message_sep|>\n\nfunction call<|role_sep|>\n" + json_calls(calls) if calls else ""), None, 1),
    ("gigachat3.1", "assistant<|role_sep|>\n", "<|message_sep|>\n\n", lambda text, calls: text + (
        "<|function_call|>" + json_calls(calls) if calls else ""), None, 1),
    ("granite3", "assistant<|end_of_role|>", "<|end_of_text|>", listed("<|tool_call|>[", "]", "\n"), ("<think>", "</think>"), 9),
    ("granite3", "<|assistant|>", "<|end|>", listed("<|tool_call|>[", "]<|/tool_call|>"), None, 9),
    ("functionary_v3.1", "<|end_header_id|>\n\n", "<|eom_id|>", functions, None, 9),
    ("functionary_v3.2", "<|end_header_id|>\n\n>>>", "<|eot_id|>", recipients, None, 9),
    ("solar_open", "<|begin|>assistant", "<|end|>", solar, ("<|think|>", "<|end|><|begin|>assistant"), 9),
    ("firefunction", "<|end_header_id|>\n\n", "<|eot_id|>", listed(" functools[", "]"), None, 9),
    ("lfm2", "<|im_start|>assistant\n", "<|im_end|>", lambda text, calls: text + (
        "<|tool_call_start|>[" + python_calls(calls) + "]<|tool_call_end|>" if calls else ""), ("<think>", "</think>"), 9),
    ("reka", "assistant:", "\n\n<sep>", tags, ("<think>\n", "\n</think>\n\n"), 9),
]


def of_families():
    for number, (label, prompt, end, write, thought, most) in enumerate(FAMILIES):
        for answer_name, answer in ANSWERS:
            calls, reasoning = answer.get("tool_calls", [])[:most], answer.get("reasoning_content", "")
            raw = write(answer["content"], calls)
            if raw is None or (reasoning and not thought):
                continue
            space = " " if reasoning and label == "reka" else ""
            raw = space + thought[0] + reasoning + thought[1] + raw[len(space):] if reasoning else raw
            message = {"content": answer["content"]}
            if reasoning:
                message["reasoning_content"] = reasoning
            if calls:
                message["tool_calls"] = [{"name": c["function"]["name"], "arguments": json.dumps(c["function"]["arguments"], ensure_ascii=False)}
                                         for c in calls]
            if label == "solar_open":
                for row, c in zip(message.get("tool_calls", []), calls):
                    row["id"] = c["id"]
            yield {"name": "family/%02d/%s/%s" % (number, label, answer_name), "format": label, "prompt": prompt, "text": raw, "end": end,
                   "message": message}


def by_hand_of_families():
    weather, args = {"name": "get_weather", "arguments": json.dumps(PARIS)}, json.dumps(PARIS)
    now = {"name": "now", "arguments": "{}"}

    def trip(**arguments):
        return {"name": "plan_trip", "arguments": json.dumps(arguments, ensure_ascii=False)}

    def lfm(text):
        return "<|tool_call_start|>" + text + "<|tool_call_end|>"

    broken = [
        ("apertus", "<|tools_prefix|>[{\"now\": 1}]<|tools_suffix|>"), ("apertus", "<|tools_prefix|>[{\"now\": {}}, {}]<|tools_suffix|>"),
        ("apriel", "<tool_calls>[{\"name\": now}]</tool_calls>"), ("minimax_m1", "<tool_calls>\nnow\n</tool_calls>"),
        ("minimax_m1", "<tool_calls>\n</tool_calls>"), ("nemotron_v2", "<TOOLCALL>[{\"name\": \"now\"}, 3]</TOOLCALL>"),
        ("nemotron_v2", "<TOOLCALL>[{\"name\": \"now\"}]</TOOLCALLS>"), ("gigachat3", "Hi.<|message_sep|>\n\nuser<|role_sep|>\nMore?"),
        ("gigachat3.1", "<|function_call|>now"), ("granite3", "<|tool_call|>[{\"tool\": \"now\"}]"),
        ("granite3", "<response>Not behind a thought</response>"), ("functionary_v3.1", "<function=now>()</function>"),
        ("functionary_v3.2", "nobody\n{}"), ("functionary_v3.2", "Hello, all\n>>> import this\n>>>now\n>>>now\n[]"),
        ("solar_open", "<|tool_calls|><|tool_call:begin|>x<|tool_call:name|>now<|tool_call:args|>[]<|tool_call:end|><|calls|>."),
        ("firefunction", "Use functools, from functools import reduce; functools[0] functools [{\"a\": 1}]"), ("lfm2", lfm("[now]")),
        ("lfm2", lfm("[now(]")), ("lfm2", lfm("[now(), 3]")), ("lfm2", lfm("[now('Paris')]")), ("lfm2", lfm("[]")), ("lfm2", lfm("now()")),
        ("lfm2", lfm("[plan_trip(text=open('x'))]")), ("lfm2", lfm("[plan_trip(days=01)]")), ("lfm2", lfm("[plan_trip(options={1: 2})]")),
        ("lfm2", lfm("[plan_trip(stops=[1 2])]")), ("lfm2", lfm("[now()) now()]")), ("lfm2", lfm("[now() now()]")), ("lfm2", lfm("[now(,)]")),
    ]
    rows = [(label, ">>>" if label == "functionary_v3.2" else "x", text, {"content": text}) for label, text in broken]
    rows += [
        ("apertus", "x", "<|inner_prefix|>Hm.<|tools_prefix|>[{\"now\": {}}]<|tools_suffix|>", {"content": "", "reasoning_content": "Hm.", "tool_calls": [now]}),
        ("apertus", "x", "<|inner_prefix|>Hm.<|tools_prefix|>[{\"now\": {}}]<|tools_suffix|><|inner_suffix|>Yes.",
         {"content": "Yes.", "reasoning_content": "Hm.", "tool_calls": [now]}),
        ("apriel", "Hm.\n[BEGIN FINAL RESPONSE]\n", "Yes.\n[END FINAL RESPONSE]", {"content": "Yes."}),
        ("apertus", "x", "<|inner_prefix|>A <|tools_prefix|> B.<|inner_suffix|>Yes.", {"content": "Yes.", "reasoning_content": "A <|tools_prefix|> B."}),
        ("apertus", "x", "<|tools_prefix|>[{\"name\": \"now\", \"arguments\": {}}, {\"\\u006eow\": {}}]<|tools_suffix|>", {"content": "", "tool_calls": [now, now]}),
        ("apriel", "Here are my reasoning steps:\n", "Hm.\nSo.\n[BEGIN FINAL RESPONSE]\nYes.\n[END FINAL RESPONSE]\n<|end|>\n",
         {"content": "Yes.", "reasoning_content": "Hm.\nSo."}),
        ("apriel", "Here are my reasoning steps:\n", "Hm.\n[BEGIN FINAL RESPONSE]\n\n<tool_calls>[{\"name\": \"now\", \"arguments\": {}, \"id\": \"a1\"}]</tool_calls>\n<|end|>",
         {"content": "", "reasoning_content": "Hm.", "tool_calls": [dict(now, id="a1")]}),
        ("apriel", "x", "It ends with [END FINAL RESPONSE]", {"content": "It ends with [END FINAL RESPONSE]"}),
        ("minimax_m1", "x", "<tool_calls>\n{\"name\": \"now\", \"arguments\": {}}\n{\"name\": 3}\n</tool_calls>",
         {"content": "\n{\"name\": 3}\n</tool_calls>", "tool_calls": [now]}),
        ("minimax_m1", "x", "<tool_calls>[{\"name\": \"now\"}]</tool_calls> Done.", {"content": "Done.", "tool_calls": [now]}),
        ("nemotron_v2", "<think></think>", "Yes.\n<SPECIAL_12>\n", {"content": "Yes."}),
        ("gigachat3", "x", "I look.<|message_sep|>\n\nfunction call<|role_sep|>\n{\"name\": \"now\", \"arguments\": {}}<|message_sep|>\n\n</s>",
         {"content": "I look.", "tool_calls": [now]}),
        ("gigachat3", "x", "function call<|role_sep|>\n{\"name\": \"now\", \"arguments\": {}}", {"content": "", "tool_calls": [now]}),
        ("granite3", "x", "<tool_call>[{\"name\": \"now\", \"arguments\": {}}]", {"content": "", "tool_calls": [now]}),
        ("mistral_id", "x", "[TOOL_CALLS]now[CALL_ID]abcDEF123[ARGS]{}[TOOL_CALLS]now[CALL_ID]abcDEF124[ARGS]{}",
         {"content": "", "tool_calls": [dict(now, id="abcDEF123"), dict(now, id="abcDEF124")]}),
        ("granite3", "x", "<think>\nHm.\n</think>\n<response>Yes, <response>.</response><|end_of_text|>", {"content": "Yes, <response>.", "reasoning_content": "Hm."}),
        ("granite3", "x", "<think>Hm.</think><response>Yes: </response> it is.", {"content": "Yes: </response> it is.", "reasoning_content": "Hm."}),
        ("functionary_v3.1", "x", "<function=get_weather>" + args + "</function>\n<function=now>{}</function>", {"content": "", "tool_calls": [weather, now]}),
        ("functionary_v3.2", "", "all\nHi >>> all\n>>>all\n", {"content": "Hi >>> all\n>>>all\n"}),
        ("functionary_v3.2", "", "now\n{}>>>all\nDone.", {"content": "Done.", "tool_calls": [now]}),
        ("solar_open", "<|think|><|end|><|begin|>assistant", "<|content|>Yes.<|flush|>", {"content": "Yes."}),
        ("solar_open", "x", "<|tool_calls|><|tool_call:begin|><|tool_call:name|>now<|tool_call:args|>{}<|tool_call:end|>", {"content": "", "tool_calls": [now]}),
        ("firefunction", "x", "functools[{\"name\": \"now\", \"arguments\": {}}]", {"content": "", "tool_calls": [now]}),
        ("lfm2", "x", lfm("[{\"name\": \"now\", \"arguments\": {}}]"), {"content": "", "tool_calls": [now]}),
        ("lfm2", "x", lfm(" [ now ( ) , plan_trip( days = 3 , flag=True, ) ] ") + "Looking.", {"content": "Looking.", "tool_calls": [now, trip(days=3, flag=True)]}),
        ("lfm2", "x", lfm("[plan_trip(text='it's \"so\"', b=\"a' b\", options={\"x\": [1, {\"y\": null}], 'z': False})]"),
         {"content": "", "tool_calls": [trip(text="it's \"so\"", b="a' b", options={"x": [1, {"y": None}], "z": False})]}),
        ("lfm2", "x", lfm("[plan_trip(text='a\\'b\\n\\x41\\u0142\\U0001f600\\101\\d\\/', b=\"\\ud83d\\ude00 \\/ \\\\\")]"),
         {"content": "", "tool_calls": [trip(text="a'b\nAł😀A\\d\\/", b="😀 / \\")]}),
        ("lfm2", "x", lfm("[plan_trip(text=')]<|tool_call_end|>', b=')]')]"), {"content": "", "tool_calls": [trip(text=")]<|tool_call_end|>", b=")]")]}),
        ("reka", "assistant: ", " Yes.", {"content": " Yes."}),
        ("reka", "assistant: <think>\n", "Hm.\n</think>\n\nYes.\n\n<sep>", {"content": "Yes.", "reasoning_content": "Hm."}),
    ]
    for i, (label, prompt, text, message) in enumerate(rows):
        yield {"name": "family/hand/%02d/%s" % (i, label), "format": label, "prompt": prompt, "text": text, "message": message}


def main():
    folder = os.path.join(sys.argv[1], "templates")
    rows = [row for name in sorted(TEMPLATES) for row in cases_of(folder, name)]
    rows += list(tagged_families.of_families(ANSWERS)) + list(tagged_families.by_hand())
    rows += list(by_hand()) + list(of_families()) + list(by_hand_of_families())
    out = sys.stdout
    out.write("{\"tools\": %s,\n\"cases\": [\n" % json.dumps(TOOLS, ensure_ascii=False))
    out.write(",\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    out.write("\n]}\n")


main()

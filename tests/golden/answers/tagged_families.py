"""Answers of families that write every argument in tags of its own, as their models write them; a part of make_cases.py.

A family is a function that writes reasoning, text and calls behind a prompt's end. Each is run over all the answers of
make_cases.py. Then follow single answers by hand: what the functions do not write, and what is no call.
"""
import copy
import json


def dumped(value):
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def printed(value):
    return str(value)


def each(calls, write, between=""):
    return between.join(write(c["function"]["name"], c["function"]["arguments"]) for c in calls)


def pairs(arguments, form, value=dumped):
    return "".join(form % (k, value(v)) for k, v in arguments.items())


def seed(thought, text, calls):
    raw = "<seed:think>%s</seed:think>\n" % thought if thought else ""
    blocks = each(calls, lambda name, a: "<seed:tool_call>\n<function=%s>\n%s</function>\n</seed:tool_call>" % (
        name, pairs(a, "<parameter=%s>%s</parameter>\n", printed)), "\n")
    return "<seed:bos>assistant\n", raw + text + ("\n\n" if text and blocks else "") + blocks


MARK = "]<]minimax[>["


def element(name, value):
    if isinstance(value, dict):
        inner = "".join(element(k, v) for k, v in value.items())
    elif isinstance(value, list):
        inner = "".join(element("item", v) for v in value)
    else:
        inner = dumped(value)
    return "%s<%s>%s%s</%s>" % (MARK, name, inner, MARK, name)


def minimax(thought, text, calls):
    raw = ("<mm:think>%s" % thought if thought else "") + "</mm:think>" + text
    if calls:
        raw += MARK + "<tool_call>\n" + each(calls, lambda name, a: "%s<invoke name=\"%s\">%s%s</invoke>\n" % (
            MARK, name, "".join(element(k, v) for k, v in a.items()), MARK)) + MARK + "</tool_call>"
    return "]~b]ai\n", raw


def kimi_type(value):
    for kind, name in ((bool, "boolean"), (type(None), "null"), (str, "string"), (dict, "object"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "number"


def kimi_tag(tag):
    return "<|open|>%s<|sep|>" % tag


def kimi_end(tag):
    return "<|close|>%s<|sep|>" % tag


def kimi(thought, text, calls):
    raw = thought + kimi_end("think") + kimi_tag("response") + text + kimi_end("response")
    for i, c in enumerate(calls):
        raw += "" if i else kimi_tag("tools")
        raw += kimi_tag("call tool=\"%s\" index=\"%d\"" % (c["function"]["name"], i + 1))
        for key, value in c["function"]["arguments"].items():
            raw += kimi_tag("argument key=\"%s\" type=\"%s\"" % (key, kimi_type(value))) + dumped(value) + kimi_end("argument")
        raw += kimi_end("call")
    return "<|open|>message role=\"assistant\"<|sep|><|open|>think<|sep|>", raw + (kimi_end("tools") if calls else "")


def dsml(section):
    def write(thought, text, calls):
        def invoke(name, a):
            inner = "".join("<｜DSML｜parameter name=\"%s\" string=\"%s\">%s</｜DSML｜parameter>\n" % (k, dumped(isinstance(v, str)), dumped(v)) for k, v in a.items())
            return "<｜DSML｜invoke name=\"%s\">\n%s</｜DSML｜invoke>\n" % (name, inner or "\n")
        raw = thought + "</think>" + text if thought else text
        if calls:
            raw += "\n\n<｜DSML｜%s>\n%s</｜DSML｜%s>" % (section, each(calls, invoke), section)
        return "<｜Assistant｜>" + ("<think>" if thought else "</think>"), raw
    return write


def cdata(value):
    return "<![CDATA[" + value + "]]>" if isinstance(value, str) and any(c in value for c in "<&\n") else str(value)


def minicpm(thought, text, calls):
    raw = "<think>\n%s\n</think>\n\n" % thought if thought else ""
    blocks = each(calls, lambda name, a: "<function name=\"%s\">%s</function>" % (name, pairs(a, "<param name=\"%s\">%s</param>", cdata)), "\n")
    return "assistant\n", raw + text + ("\n" if text and blocks else "") + blocks


def hunyuan(thought, text, calls):
    raw = thought + "</think:opensource>" + text if thought else text
    if calls:
        form = "<arg_key:opensource>%s</arg_key:opensource>\n<arg_value:opensource>%s</arg_value:opensource>\n"
        raw += "<tool_calls:opensource>\n" + each(calls, lambda name, a: "<tool_call:opensource>%s<tool_sep:opensource>\n%s</tool_call:opensource>\n" % (
            name, pairs(a, form))) + "</tool_calls:opensource>"
    return "<think:opensource>" + ("" if thought else "</think:opensource>"), raw


def step(thought, text, calls):
    def spelled(value):
        return dumped(value) if isinstance(value, (dict, list)) else str(value)
    return "<|im_start|>assistant\n<think>\n", thought + "\n</think>\n" + text + each(
        calls, lambda name, a: "<tool_call>\n<function=%s>\n%s</function>\n</tool_call>" % (name, pairs(a, "<parameter=%s>\n%s\n</parameter>\n", spelled)))


def glm_call(behind_name, between, behind, behind_all=""):
    form = "<arg_key>%s</arg_key>" + between + "<arg_value>%s</arg_value>" + behind
    return lambda name, a: "<tool_call>" + name + behind_name + pairs(a, form) + behind_all + "</tool_call>"


def glm_line(thought, text, calls):
    return "<|assistant|><think>" if thought else "<|assistant|></think>", (thought + "</think>" if thought else "") + text + each(calls, glm_call("", "", ""))


def ling(thought, text, calls):
    blocks = each(calls, glm_call("\n", "\n", "", "\n"), "\n")
    return "\n<think>" if thought else "\n<think></think>", (thought + "</think>" if thought else "") + text + ("\n" if text and blocks else "") + blocks


def laguna_xs(thought, text, calls):
    raw = "\n%s\n</think>" % thought if thought else ""
    raw += "\n" + (text + "\n" if text else "") + each(calls, glm_call("\n", "\n", "\n"), "\n") + ("\n" if calls else "")
    return "<assistant>\n" + ("<think>" if thought else "</think>"), raw


def laguna_s(thought, text, calls):
    return "<assistant><think>", thought + "</think>" + text + each(calls, glm_call("", "", ""))


def muse(thought, text, calls):
    def spelled(value):
        return str(value) if isinstance(value, float) else dumped(value)
    parts = [" to=self<|message|>" + thought] if thought else []
    if not calls:
        parts.append(" to=user<|message|>" + text)
    parts += [" to=%s<|message|><atem:function_calls>\n<atem:invoke name=\"%s\">\n%s</atem:invoke>\n</atem:function_calls>" % (
        c["function"]["name"], c["function"]["name"], pairs(c["function"]["arguments"], "<atem:parameter name=\"%s\">%s</atem:parameter>\n", spelled)) for c in calls]
    return "<|start|>assistant", "<|eom|><|start|>assistant".join(parts)


FAMILIES = [
    ("seed_oss", seed, "<seed:eos>"), ("minimax_m3", minimax, "[e~["), ("kimi_k3", kimi, "<|close|>message<|sep|><|end_of_msg|>"),
    ("deepseek_v4", dsml("tool_calls"), "<｜end▁of▁sentence｜>"), ("deepseek_v4", dsml("function_calls"), "<｜end▁of▁sentence｜>"),
    ("deepseek_dsml", dsml("tool_calls"), "<｜end▁of▁sentence｜>"), ("minicpm5", minicpm, "<|im_end|>"),
    ("hunyuan_v3", hunyuan, "<｜hy_eos:opensource｜>"), ("step3.5", step, "<|im_end|>"), ("glm4.7", glm_line, "<|observation|>"),
    ("ling3", ling, "<|role_end|>"), ("laguna_xs", laguna_xs, "</assistant>"), ("laguna_s", laguna_s, "</assistant>"), ("muse", muse, "<|eot|>"),
]


def without_nothing(value):
    """What elements cannot say: null, and lists and objects that are empty."""
    if isinstance(value, dict):
        return {k: without_nothing(v) for k, v in value.items() if v is not None and v not in ([], {})}
    return [without_nothing(v) for v in value if v is not None] if isinstance(value, list) else value


SPACES = [
    ("space", {"content": "\n  Lines.  \n\n"}),
    ("space_before_call", {"content": " Look: \n\n\n\n", "tool_calls": [{"function": {"name": "now", "arguments": {}}}]}),
    ("space_in_thought", {"content": "x", "reasoning_content": "\n\n a \n\n\n"}),
]


def message_of(answer, calls):
    message = {"content": answer["content"]}
    if answer.get("reasoning_content"):
        message["reasoning_content"] = answer["reasoning_content"]
    if calls:
        message["tool_calls"] = [{"name": c["function"]["name"], "arguments": json.dumps(c["function"]["arguments"], ensure_ascii=False)} for c in calls]
    return message


def of_families(answers):
    for number, (label, write, end) in enumerate(FAMILIES):
        for answer_name, answer in answers + SPACES:
            answer = copy.deepcopy(answer)
            calls = answer.get("tool_calls", [])
            if label == "minimax_m3":
                for c in calls:
                    c["function"]["arguments"] = without_nothing(c["function"]["arguments"])
            if label == "muse" and calls:
                answer["content"] = ""
            prompt, raw = write(answer.get("reasoning_content", ""), answer["content"], calls)
            yield {"name": "tagged/%02d/%s/%s" % (number, label, answer_name), "format": label, "prompt": prompt, "text": raw, "end": end,
                   "message": message_of(answer, calls)}


def trip(**arguments):
    return {"name": "plan_trip", "arguments": json.dumps(arguments, ensure_ascii=False)}


NOW = {"name": "now", "arguments": "{}"}
ASK = "<seed:tool_call>\n<function=plan_trip>\n"


def in_seed(inner):
    return ASK + inner + "</function>\n</seed:tool_call>"


def in_minimax(inner, name="plan_trip"):
    return MARK + "<tool_call>\n" + MARK + "<invoke name=\"" + name + "\">" + inner + MARK + "</invoke>\n" + MARK + "</tool_call>"


def in_kimi(inner, name="plan_trip"):
    return kimi_tag("tools") + kimi_tag("call tool=\"%s\" index=\"1\"" % name) + inner + kimi_end("call") + kimi_end("tools")


def in_minicpm(inner):
    return "<function name=\"plan_trip\">" + inner + "</function>"


def in_muse(inner, name="plan_trip"):
    return " to=%s<|message|><atem:function_calls>\n<atem:invoke name=\"%s\">\n%s</atem:invoke>\n</atem:function_calls>" % (name, name, inner)


def by_hand():
    args = json.dumps({"location": "Oslo"})
    weather = {"name": "get_weather", "arguments": args}
    deep = "".join(MARK + "<item>" for _ in range(70))
    broken = [
        ("seed_oss", "<seed:tool_call>\nnow\n</seed:tool_call>"), ("seed_oss", ASK + "<parameter=text>a</parameter>\n</seed:tool_call>"),
        ("seed_oss", "<tool_call>\n<function=now>\n</function>\n</tool_call>"), ("minimax_m3", MARK + "<tool_call>\nnow\n" + MARK + "</tool_call>"),
        ("minimax_m3", in_minimax(MARK + "<text>a" + MARK + "</b>")), ("minimax_m3", in_minimax("a")), ("minimax_m3", in_minimax(MARK + "</text>")),
        ("minimax_m3", in_minimax(MARK + "<stops>" + MARK + "<item>a" + MARK + "</stops>")), ("minimax_m3", in_minimax(MARK + "<stops>" + deep)),
        ("minimax_m3", in_minimax(MARK + "<stops>" + deep + deep.replace("<", "</").replace("]</]", "]<]") + MARK + "</stops>")),
        ("minimax_m3", "<minimax:tool_call>\n<invoke name=\"now\">\n</invoke>\n</minimax:tool_call>"),
        ("kimi_k3", kimi_tag("tools") + kimi_tag("call name=\"now\"")), ("kimi_k3", in_kimi(kimi_tag("argument key=\"text\" type=\"text\"") + "a" + kimi_end("argument"))),
        ("kimi_k3", in_kimi(kimi_tag("json type=\"object\"") + "[1]" + kimi_end("json"))), ("kimi_k3", in_kimi("a")),
        ("deepseek_v4", "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"now\">\n</｜DSML｜tool_calls>"), ("deepseek_v4", "<｜DSML｜tool_calls>\n</｜DSML｜invoke>"),
        ("minicpm5", "<function name=\"\"></function>"), ("minicpm5", "Write <function name=\"f\"> and </function> around it."),
        ("minicpm5", in_minicpm("<param name=\"text\"><![CDATA[a</param>")), ("minicpm5", "<function name=\"now\"/>"),
        ("hunyuan_v3", "<tool_calls:opensource>\nnow\n</tool_calls:opensource>"), ("hunyuan_v3", "<tool_call:opensource>now<tool_sep:opensource>\n</tool_call:opensource>"),
        ("step3.5", "<tool_call>\n<function=now>\n</tool_call>"), ("glm4.7", "<tool_call>now<arg_key>a</arg_key></tool_call>"),
        ("ling3", "<tool_call></tool_call>"), ("laguna_xs", "<tool_call>\n</tool_call>"), ("laguna_s", "Say </assistant> and go on."),
        ("muse", " to"), ("muse", "No header at all." * 20),
    ]
    rows = [(label, "x" if label != "muse" else "<|start|>assistant", text, {"content": text}) for label, text in broken]
    rows += [
        ("seed_oss", "<seed:bos>assistant\n", "<seed:think>Hm.\n<seed:cot_budget_reflect>I have used 129 tokens.</seed:cot_budget_reflect>\nSo.</seed:think>\nYes.",
         {"content": "Yes.", "reasoning_content": "Hm.\n<seed:cot_budget_reflect>I have used 129 tokens.</seed:cot_budget_reflect>\nSo."}),
        ("seed_oss", "<seed:think>\n<seed:cot_budget_reflect>0</seed:cot_budget_reflect>\n</seed:think>", "\nYes.", {"content": "Yes."}),
        ("seed_oss", "x", in_seed("<parameter=options>{'a': {'b': [None, True, \"it's\", 'x\\n\\\\\\u0142\\x41']}, 'c': -1e-07}</parameter>\n<parameter=stops>['a', {}]</parameter>\n"),
         {"content": "", "tool_calls": [trip(options={"a": {"b": [None, True, "it's", "x\n\\łA"]}, "c": -1e-07}, stops=["a", {}])]}),
        ("seed_oss", "x", in_seed("<parameter=options>{'a': open('x')}</parameter>\n<parameter=stops>['a'</parameter>\n<parameter=text>{'a': 1}</parameter>\n"
                                  "<parameter=b>['a']</parameter>\n<parameter=new>{'a': 1}</parameter>\n"),
         {"content": "", "tool_calls": [trip(options="{'a': open('x')}", stops="['a'", text="{'a': 1}", b="['a']", new="{'a': 1}")]}),
        ("seed_oss", "x", in_seed("<parameter=options>" + "[" * 70 + "]" * 70 + "</parameter>\n"), {"content": "", "tool_calls": [trip(options="[" * 70 + "]" * 70)]}),
        ("seed_oss", "x", in_seed("<parameter=options>" + "[" * 64 + "]" * 64 + "</parameter>\n"),
         {"content": in_seed("<parameter=options>" + "[" * 64 + "]" * 64 + "</parameter>\n")}),
        ("minimax_m3", "]~b]ai\n<mm:think>", "Hm.</mm:think>Yes.[e~[", {"content": "Yes.", "reasoning_content": "Hm."}),
        ("minimax_m3", "x", in_minimax("\n  %s<stops>\n    %s<item>\n%s<days>2%s</days>\n%s</item>\n%s</stops>\n  %s<options>%s</options>\n" % ((MARK,) * 8)),
         {"content": "", "tool_calls": [trip(stops=[{"days": 2}], options={})]}),
        ("minimax_m3", "x", in_minimax("%s<stops>%s<stop>a%s</stop>%s</stops>%s<options>%s<item>b%s</item>%s</options>" % ((MARK,) * 8)),
         {"content": "", "tool_calls": [trip(stops=["a"], options={"item": "b"})]}),
        ("minimax_m3", "x", in_minimax("%s<stops>[{\"a\": 1}]%s</stops>%s<new>%s<item>0.5%s</item>%s<item>007%s</item>%s<item>null%s</item>%s<item>true%s</item>%s</new>" % ((MARK,) * 12)),
         {"content": "", "tool_calls": [trip(stops=[{"a": 1}], new=[0.5, "007", "null", True])]}),
        ("minimax_m3", "x", in_minimax("%s<text>%s<b>a</text>%s</b>%s</text>" % ((MARK,) * 4)), {"content": "", "tool_calls": [trip(text=MARK + "<b>a</text>" + MARK + "</b>")]}),
        ("kimi_k3", "<|open|>response<|sep|>", "Yes." + kimi_end("response") + kimi_end("message") + "<|end_of_msg|>", {"content": "Yes."}),
        ("kimi_k3", "x", in_kimi(kimi_tag("json type=\"object\"") + " {\"text\":\"a\",\"new\":[1]} " + kimi_end("json")), {"content": "", "tool_calls": [trip(text="a", new=[1])]}),
        ("kimi_k3", "x", in_kimi(kimi_tag("argument key=\"a &amp;&quot;b&quot; &lt;\" type=\"string\"") + "&amp;" + kimi_end("argument") +
                                 kimi_tag("argument key=\"b\" type=\"number\"") + "12" + kimi_end("argument") +
                                 kimi_tag("argument key=\"days\" type=\"string\"") + "12" + kimi_end("argument") +
                                 kimi_tag("argument key=\"text\" type=\"object\"") + "\"x\"" + kimi_end("argument")),
         {"content": "", "tool_calls": [trip(**{"a &\"b\" &lt;": "&amp;", "b": 12, "days": "12", "text": "x"})]}),
        ("deepseek_dsml", "</think>", "Look.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"now\">\n\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>", {"content": "Look.", "tool_calls": [NOW]}),
        ("minicpm5", "x", in_minicpm("<param name=\"text\"><![CDATA[a</param></function>]]> b</param>\n]]>\n</param><param name=\"options\"><![CDATA[{\"a\": 1}]]></param>"
                                     "<param name=\"flag\">True</param><param name=\"maybe\">None</param><param name=\"b\">None</param><param name=\"new\">5</param>"),
         {"content": "", "tool_calls": [trip(text="a</param></function>]]> b</param>\n", options={"a": 1}, flag=True, maybe=None, b="None", new="5")]}),
        ("glm4.7", "<|assistant|>", "<think></think>Yes.", {"content": "Yes."}),
        ("laguna_xs", "<assistant>\n</think>", "\nYes.\n</assistant>\n", {"content": "Yes."}),
        ("laguna_xs", "<assistant>\n</think>", "\nSay </assistant>\nor not.\n\n</assistant>", {"content": "Say </assistant>\nor not.\n"}),
        ("muse", "<|start|>assistant to=self<|message|>", "Hm.<|eom|><|start|>assistant to=user<|message|>Yes.<|eot|>", {"content": "Yes.", "reasoning_content": "Hm."}),
        ("muse", "<|start|>assistant", " to=user<|message|>I look.<|eom|><|start|>assistant" + in_muse("", "now") + "<|eot|>", {"content": "I look.", "tool_calls": [NOW]}),
        ("muse", "<|start|>assistant", "<|message|>Yes.", {"content": "Yes."}),
        ("muse", "<|start|>assistant", in_muse("<atem:parameter name=\"days\">many</atem:parameter>\n<atem:parameter name=\"new\">[1]</atem:parameter>\n"),
         {"content": "", "tool_calls": [trip(days="many", new=[1])]}),
        ("deepseek_v3", "<｜Assistant｜><think>\n", "Hm.\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n" + args +
         "\n```\n<｜tool▁call▁end｜><｜tool▁calls▁end｜>", {"content": "", "reasoning_content": "Hm.", "tool_calls": [weather]}),
        ("harmony", "<|start|>assistant", "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>" + args +
         "<|call|><|start|>assistant<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}<|call|>", {"content": "", "tool_calls": [weather, NOW]}),
        ("harmony", "<|start|>assistant", " to=functions.get_weather<|channel|>commentary json<|message|>" + args +
         "<|call|><|start|>assistant to=functions.now<|channel|>commentary json<|message|>{}<|call|><|start|>assistant<|channel|>final<|message|>Done.<|return|>",
         {"content": "Done.", "tool_calls": [weather, NOW]}),
    ]
    for i, (label, prompt, text, message) in enumerate(rows):
        yield {"name": "tagged/hand/%02d/%s" % (i, label), "format": label, "prompt": prompt, "text": text, "message": message}

"""components.json: small tokenizers of one or a few components each, and what the library `tokenizers` makes of texts and ids.

    make_components.py > components.json      (tokenizers 0.23.3)

Texts go through a WordPiece model whose tokens are single characters, so that ids show every cut; ids are decoded by a model of whole words.
"""
import json

import tokenizers
from tokenizers import Tokenizer, decoders

assert tokenizers.__version__ == "0.23.3"

MARK = "▁"
TEXTS = ["", "Hello, world! 42", " a  b ", "\x01\x08a\tb\nc\r\x0bd\x0c\x7f\x8f\x9fe", "\u1680x\u200b\u200fy\u2028\u2029z▁\ufeff\ufffd\x85\u3000.",
         "日本ーカタひらabc. 漢字", "Жук και שלום ا١ 한글 ไทย", "e\u0301 é ﬁ² 𝔸👍🏽🇩🇪", "a.b, c;d_e", "  \n ", "\u0378 \u0378x\u03b1 \u0301y", "x日y日z", "<s>a</s> <s> b"]
SPECIAL = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
           for i, c in enumerate(["[UNK]", "<s>", "</s>"])]


def parts(kind, *components):
    if not components:
        return None
    key = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders", "post_processor": "processors"}[kind]
    return components[0] if len(components) == 1 else {"type": "Sequence", key: list(components)}


def document(model, normalizer=(), pre_tokenizer=(), post_processor=(), decoder=(), more=None):
    d = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": SPECIAL, "normalizer": parts("normalizer", *normalizer),
         "pre_tokenizer": parts("pre_tokenizer", *pre_tokenizer), "post_processor": parts("post_processor", *post_processor),
         "decoder": parts("decoder", *decoder), "model": model}
    d.update(more or {})
    return d


def word_piece(characters):
    words = ["[UNK]", "<s>", "</s>"] + [p + c for c in sorted(characters) for p in ("", "##")]
    return {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": {w: i for i, w in enumerate(words)}}


def text_case(name, texts=TEXTS, **kinds):
    probe = Tokenizer.from_str(json.dumps(document(word_piece([]), **kinds)))
    characters = set()
    for text in texts:
        normal = probe.normalizer.normalize_str(text) if probe.normalizer else text
        words = [w for w, _ in probe.pre_tokenizer.pre_tokenize_str(normal)] if probe.pre_tokenizer else [normal]
        characters |= set("".join(words)) - set("4ไ")
    file = json.dumps(document(word_piece(characters), **kinds), ensure_ascii=False)
    library = Tokenizer.from_str(file)
    library.no_truncation()
    library.no_padding()
    return {"name": name, "file": file, "decodes": [],
            "texts": [{"text": t, "ids": library.encode(t, add_special_tokens=False).ids, "ids_special": library.encode(t).ids} for t in texts]}


def decode_case(name, lists, *components, **more):
    words = list(dict.fromkeys(["[UNK]"] + [w for words in lists for w in words]))
    model = {"type": "WordLevel", "vocab": {w: i for i, w in enumerate(words)}, "unk_token": "[UNK]"}
    d = document(model, decoder=components, more={"added_tokens": [], **more})
    file = json.dumps(d, ensure_ascii=False)
    library = Tokenizer.from_str(file)
    rows = []
    for row in lists:
        ids = [words.index(w) for w in row]
        text = library.decode(ids)
        # a stream has shown what an invalid byte turns into U+FFFD later
        streams = not ("ByteFallback" in file and "\ufffd" in decoders.ByteFallback().decode(row))
        rows.append({"ids": ids, "text": text, "streams": streams})
    return {"name": name, "file": file, "texts": [], "decodes": rows}


def replace(pattern, content, regex=False):
    return {"type": "Replace", "pattern": {"Regex" if regex else "String": pattern}, "content": content}


def strip(content, start, stop):
    return {"type": "Strip", "content": content, "start": start, "stop": stop}


def template(*pieces, pair=("A", "</s>", "B")):
    def piece(p):
        return {"Sequence": {"id": p, "type_id": 0}} if p in "AB" else {"SpecialToken": {"id": p, "type_id": 0}}
    return {"type": "TemplateProcessing", "single": [piece(p) for p in pieces], "pair": [piece(p) for p in pair],
            "special_tokens": {t: {"id": t, "ids": [i], "tokens": [t]} for t, i in (("<s>", 1), ("</s>", 2))}}


def ends(kind):
    return {"type": kind, "sep": ["</s>", 2], "cls": ["<s>", 1], **({"trim_offsets": True, "add_prefix_space": False} if kind[0] == "R" else {})}


NMT, BYTES, FUSE, FALLBACK = {"type": "Nmt"}, {"type": "ByteLevel"}, {"type": "Fuse"}, {"type": "ByteFallback"}
SCRIPTS, SPLIT = {"type": "UnicodeScripts"}, {"type": "WhitespaceSplit"}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def metaspace(scheme):
    return {"type": "Metaspace", "replacement": MARK, "prepend_scheme": scheme, "split": True}


def cut(pattern, behavior, regex=False):
    return {"type": "Split", "pattern": {"Regex" if regex else "String": pattern}, "behavior": behavior, "invert": False}


MARKED = [[], [MARK], [MARK * 2 + "a" + MARK + "b", MARK + "c", MARK], ["a", MARK + "b", "c"], [" ", MARK], [MARK, MARK, "x" + MARK]]
RUNS = [["<0xE2>", "<0x96>", "<0x81>", "a"], [MARK + "a", "<0xC3>", "<0xA9>", MARK, "<0x0A>"], ["<0xC3>", "a", "<0x20>"], ["<0x61>", "<0xFF>", "b"],
        ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "<0x20>"], ["<0x+A>", "<0xG1>", "<0x1>"], ["<0xED>", "<0xA0>", "<0x80>", "x"]]
WORDS = [["do", "##n", "'", "t"], ["a", " .", "b", "!"], ["I", "do not", "##x", "##"], ["it", "'s", ".", "##.", " n't"], ["##a", "##b"]]
ENDS = [["x</w>", "y</w>"], ["</w>", "</w>"], ["a", "b</w>c</w>"], ["x</w>y"], []]
HEARD = [["a", "a", "<pad>", "a", "|", "|", "b", " ."], ["<pad>", "<pad>"], ["|", "a<pad>b", "a<pad>b", "x|y"], [" n't", "<pad>", " n't"]]
LETTERS = [["Ã", "©", "Ġa"], ["Ġ", "æ", "Ĺ"], ["é", "æĹ¥", "日", "b"], ["ä"], [], ["Ġ", "Ġ"]]
SPACED = [[" a ", "  b", " "], ["a", " ", " "], [" ", " ", "c "], ["x"], []]

CASES = [
    text_case("nmt", normalizer=[NMT]),
    text_case("byte-level normalizer", normalizer=[BYTES]),
    text_case("byte-level normalizer in a sequence", normalizer=[{"type": "NFC"}, {"type": "Prepend", "prepend": " "}, BYTES], pre_tokenizer=[cut("Ġ", "MergedWithNext")]),
    text_case("replace by an empty match", normalizer=[replace("x*", "-", True)]),
    text_case("replace by an empty text", normalizer=[replace("", "-")], pre_tokenizer=[SPLIT]),
    text_case("scripts", pre_tokenizer=[SCRIPTS]),
    text_case("scripts of words", normalizer=[NMT], pre_tokenizer=[SPLIT, SCRIPTS, {"type": "Digits", "individual_digits": True}]),
    text_case("split by an empty text", pre_tokenizer=[cut("", "Isolated")]),
    text_case("first word behind what vanishes", normalizer=[NMT, {"type": "Strip", "strip_left": True, "strip_right": False}], pre_tokenizer=[SPLIT, metaspace("first")]),
    text_case("an added token whose accent comes off and on", ["\u00c9 x", "a \u00c9 x", "E\u0301 x\u00c9", "\u00c9"], normalizer=[{"type": "NFKD"}, {"type": "NFKC"}],
              pre_tokenizer=[metaspace("first")], more={"added_tokens": SPECIAL + [dict(SPECIAL[0], id=11, content="\u00c9 x", normalized=True, special=False)]}),
    text_case("first words of one character", normalizer=[{"type": "NFKD"}, replace(r"^\p{L}+", "-", True)], pre_tokenizer=[SCRIPTS, metaspace("first")]),
    text_case("template behind a template", post_processor=[template("<s>", "A"), template("A", "</s>", pair=("</s>", "A", "<s>", "B"))]),
    text_case("ends behind a template", post_processor=[template("<s>", "A", "</s>"), ends("BertProcessing")]),
    text_case("other ends behind a template", post_processor=[template("<s>", "A"), ends("RobertaProcessing"), BYTE_LEVEL]),
    text_case("truncation and padding are the program's", post_processor=[template("<s>", "A")],
              more={"truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
                    "padding": {"strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": 8, "pad_id": 0, "pad_type_id": 0, "pad_token": "[UNK]"}}),
    decode_case("no decoder", SPACED),
    decode_case("empty sequence", SPACED, {"type": "Sequence", "decoders": []}),
    decode_case("fuse", SPACED, FUSE),
    decode_case("strip of each token", SPACED, strip(" ", 1, 0)),
    decode_case("strip at the ends", [["xa", "ax"], ["abxx", "c"], ["bx"]], strip("x", 0, 1)),
    decode_case("strip of the whole", [[" ", " a", " ", "b ", " ", " "], ["a", "  b  "], ["a", "b"]], FUSE, strip(" ", 1, 2)),
    decode_case("replace", MARKED, replace(MARK, " ")),
    decode_case("replace across tokens", [["a", "b", "a", "b"], ["aa", "b", "ba", "a", "b"], ["ab", "a"], ["a", "a"]], FUSE, replace("ab", "-")),
    decode_case("replace across tokens, of a repeated text", [["a", "a", "a", "a", "b"], ["aa", "baa"], ["a"]], FUSE, replace("aab", "é")),
    decode_case("replace by a pattern", [["ab", "x1y22"], ["1", "a", "12"]], replace(r"\d+", "#", True)),
    decode_case("replace by a pattern in the whole", [["ab", "x1", "22"], ["1", "a", "12"]], FUSE, replace(r"\d+$|^a", "#", True)),
    decode_case("replace by an empty match", [["ab", "xxc"], ["x"]], replace("x*", "-", True)),
    decode_case("byte tokens", RUNS, FALLBACK),
    decode_case("byte tokens are marks", RUNS, FALLBACK, replace(MARK, " ")),
    decode_case("byte tokens then metaspace", RUNS, FALLBACK, metaspace("always")),
    decode_case("byte tokens, fused and stripped", RUNS, replace(MARK, " "), FALLBACK, FUSE, strip(" ", 1, 0)),
    decode_case("made byte tokens", [["[C3]", "[A9]", "a"], ["[61]"]], replace(r"\[(?=..\])", "<0x", True), replace("]", ">"), FALLBACK),
    decode_case("fused before byte tokens", RUNS, FUSE, FALLBACK),
    decode_case("metaspace always", MARKED, metaspace("always")),
    decode_case("metaspace never", MARKED, metaspace("never")),
    decode_case("metaspace of the whole", MARKED, FUSE, metaspace("first")),
    decode_case("metaspace then strip", MARKED, metaspace("never"), FUSE, strip(" ", 2, 0)),
    decode_case("word pieces", WORDS, {"type": "WordPiece", "prefix": "##", "cleanup": True}),
    decode_case("word pieces as they are", WORDS, {"type": "WordPiece", "prefix": "##", "cleanup": False}, replace(" ", "_")),
    decode_case("word pieces of no prefix", WORDS, {"type": "WordPiece", "prefix": "", "cleanup": False}),
    decode_case("word pieces behind byte tokens", RUNS, FALLBACK, {"type": "WordPiece", "prefix": "##", "cleanup": True}),
    decode_case("ends of words", ENDS, {"type": "BPEDecoder", "suffix": "</w>"}),
    decode_case("ends of words, then capitals", ENDS[:4], {"type": "BPEDecoder", "suffix": "</w>"}, replace("y", "Y"), FUSE, strip("X", 1, 0)),
    decode_case("ends of words of no suffix", ENDS, {"type": "BPEDecoder", "suffix": ""}),
    decode_case("fused before ends of words", ENDS, FUSE, {"type": "BPEDecoder", "suffix": "</w>"}),
    decode_case("ctc", HEARD, {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True}),
    decode_case("ctc as it is", HEARD, {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": False}),
    decode_case("ctc, then spaces", HEARD, {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True},
                {"type": "WordPiece", "prefix": "b", "cleanup": False}),
    decode_case("byte level", LETTERS, BYTE_LEVEL),
    decode_case("byte level, stripped", LETTERS, BYTE_LEVEL, strip(" ", 1, 0)),
    decode_case("byte level behind marks", [[MARK + "a", "Ã", "©"], [MARK]], replace(MARK, "Ġ"), BYTE_LEVEL, replace(" ", "_")),
    decode_case("fused before byte level", LETTERS, FUSE, BYTE_LEVEL),
    decode_case("sequences in sequences", MARKED, {"type": "Sequence", "decoders": [FUSE, {"type": "Sequence", "decoders": [replace(MARK, " ")]}]}, strip(" ", 1, 0)),
]

if __name__ == "__main__":
    print("{\"made_by\": \"make_components.py, tokenizers 0.23.3\", \"cases\": [")
    print(",\n".join(json.dumps(c, ensure_ascii=False) for c in CASES))
    print("]}")

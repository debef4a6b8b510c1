"""What templates of published models do, against transformers 5.24; what a message may hold."""

import json
import re
from dataclasses import replace

import pytest

import edifice_tt as et
from edifice_tt.contract.errors import CheckpointError
from edifice_tt.selection.answers import opened_thinking
from edifice_tt.testing import byte_tokenizer
from edifice_tt.weights.tokenizer import TextStream, Tokenizer

tokenizers = pytest.importorskip("tokenizers")

TOKENIZER = byte_tokenizer()
USER = [{"role": "user", "content": "Hi"}]
CALL = {"type": "function", "function": {"name": "look", "arguments": {"city": "Köln"}}}
CALLS = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "name": "look", "content": "rain"},
]
PARTS = [
    {
        "role": "user",
        "content": [{"type": "text", "text": " Hi "}, {"type": "text", "text": "there"}],
    }
]
RENDERED = [
    (
        (
            "{% for m in messages %}{% if m.content is none %}{{ "
            "m.tool_calls[0].function | tojson }}{% elif m.role == 'tool' %}<{{ "
            "m.name }}>{{ m.content }}{% else %}{{ m.content }}|{% endif %}{% "
            "endfor %}"
        ),
        CALLS,
        {},
        'Weather?|{"name": "look", "arguments": {"city": "Köln"}}<look>rain',
    ),
    (
        (
            "{% for m in messages %}{% if m.content is string %}s{% elif m.content "
            "is iterable %}{% for p in m.content %}{{ p.text | trim }},{% endfor "
            "%}{% endif %}{% endfor %}"
        ),
        PARTS,
        {},
        "Hi,there,",
    ),
    (
        (
            "{% set ns = namespace(n=0, last='') %}{% for m in messages %}{% set "
            "ns.n = ns.n + 1 %}{% if m.role == 'tool' %}{% set ns.last = m.content "
            "%}{% endif %}{% endfor %}{{ ns.n }}{{ ns.last }}"
        ),
        CALLS,
        {},
        "3rain",
    ),
    (
        (
            "{% for m in messages %}{% if m.role == 'assistant' %}{% continue %}{% "
            "endif %}{{ m.content }}{% if m.role == 'tool' %}{% break %}{% endif "
            "%}{% endfor %}"
        ),
        CALLS,
        {},
        "Weather?rain",
    ),
    (
        (
            "{%- for m in messages %}\n    {%- generation %}\n{{ m.role }}\n    {%- "
            "endgeneration %}\n{%- endfor %}"
        ),
        USER * 2,
        {},
        "useruser",
    ),
    (
        "{% if tools %}{{ tools | tojson(indent=2) }}{% else %}none{% endif %}",
        USER,
        {"tools": [{"name": "f", "x": [1, True, None]}]},
        '[\n  {\n    "name": "f",\n    "x": [\n      1,\n      true,\n      null\n    ]\n  }\n]',
    ),
    ("{% if tools %}{{ tools | tojson(indent=2) }}{% else %}none{% endif %}", USER, {}, "none"),
    (
        (
            "{% if enable_thinking is defined and enable_thinking is false "
            "%}<think>\n\n</think>{% else %}{{ enable_thinking }}{% endif %}"
        ),
        USER,
        {"enable_thinking": False},
        "<think>\n\n</think>",
    ),
    (
        (
            "{% if enable_thinking is defined and enable_thinking is false "
            "%}<think>\n\n</think>{% else %}[{{ enable_thinking }}]{% endif %}"
        ),
        USER,
        {},
        "[]",
    ),
    (
        (
            "{% if date_string is not defined %}{% if strftime_now is defined %}{% "
            "set date_string = strftime_now('%d %b %Y') %}{% else %}{% set "
            "date_string = '26 Jul 2024' %}{% endif %}{% endif %}{{ date_string }}"
        ),
        USER,
        {"date_string": "1 May 2020"},
        "1 May 2020",
    ),
    (
        (
            "{% macro one(m) -%}[{{ m.role }}]{%- endmacro %}{% for m in "
            "messages[::-1] %}{{ one(m) }}{% endfor %}{{ messages[-1]['content'] | "
            "upper }}"
        ),
        CALLS,
        {},
        "[tool][assistant][user]RAIN",
    ),
    (
        (
            "{% set names = messages | map(attribute='role') | list %}{{ names | "
            "join('+') }}{{ messages | selectattr('role', 'equalto', 'tool') | "
            "list | length }}"
        ),
        CALLS,
        {},
        "user+assistant+tool1",
    ),
    (
        (
            "{% set d = dict(a=1) %}{{ d.a }}{{ dict(messages[0], content='x') | "
            "tojson }}{{ messages[0].get('name', 'nobody') }}{{ "
            "'abc'.split('b')[-1].lstrip('c') }}{{ [1,2] + [3] }}"
        ),
        USER,
        {},
        '1{"role": "user", "content": "x"}nobody[1, 2, 3]',
    ),
    (
        (
            "{% set text %}a{{ 1 }}{% endset %}{{ text }}{{ 'x' if "
            "add_generation_prompt else 'y' }}{{ missing }}{{ missing is defined }}"
        ),
        USER,
        {},
        "a1xFalse",
    ),
    ("{{ messages[0].content | tojson }}{{ '<b>' | e }}{{ '<b>' }}", USER, {}, '"Hi"&lt;b&gt;<b>'),
    ("  {% if true %}\n  a\n  {% endif %}\nb\n", USER, {}, "  a\nb"),
]
FAILING = [
    ("{{ raise_exception('System role not supported') }}", USER, "System role not supported"),
    ("{{ messages[0].content + missing }}", USER, "'missing' is undefined"),
    ("{{ messages[1].content }}", USER, "list object has no element 1"),
    (
        "{% for m in messages %}{{ m.content + '!' }}{% endfor %}",
        CALLS,
        "unsupported operand type(s) for +: 'NoneType' and 'str'",
    ),
    (
        "{% if x %}",
        USER,
        (
            "Unexpected end of template. Jinja was looking for the following tags: "
            "'elif' or 'else' or 'endif'. The innermost block that needs to be "
            "closed is 'if'."
        ),
    ),
    ("{{ messages.append(1) }}", USER, "access to attribute 'append' of 'list' object is unsafe."),
    (
        "{{ messages[0].__class__.__mro__ }}",
        USER,
        "access to attribute '__class__' of 'dict' object is unsafe.",
    ),
]


@pytest.mark.parametrize(("template", "messages", "options", "text"), RENDERED)
def test_a_template_is_rendered_as_by_transformers(template, messages, options, text):
    assert replace(TOKENIZER, chat_template=template).chat(messages, **options) == text


@pytest.mark.parametrize(("template", "messages", "error"), FAILING)
def test_a_template_that_fails_is_told_in_the_words_of_transformers(template, messages, error):
    with pytest.raises(ValueError, match=f"chat template failed: {re.escape(error)}"):
        replace(TOKENIZER, chat_template=template).chat(messages)


@pytest.mark.parametrize(
    "content",
    [
        None,
        7,
        ["Hi"],
        [{"type": "text"}],
        [{"type": "text", "text": None}],
        [{"type": "image", "url": "x.png"}],
        [{"type": "text", "text": "See"}, {"type": "image"}],
    ],
)
def test_a_content_that_is_no_text_is_refused(content):
    """A template would leave an image out in silence."""
    with pytest.raises(ValueError, match=r"messages\[1\]=.* must be a dict with role and content"):
        TOKENIZER.chat([*USER, {"role": "user", "content": content}])


def test_a_control_token_typed_into_a_part_of_a_content_is_text():
    tokenizer = replace(TOKENIZER, chat_template="{{ messages[0].content[0].text }}<|im_end|>")
    parts = [{"type": "text", "text": "<|im_end|>"}]
    ids = tokenizer.encode(tokenizer.chat([{"role": "user", "content": parts}]))
    assert [i for i in ids if i < 3] == [2]


# --- thinking


SIGNS = ["[THINK]", "[/THINK]"]


def layout_of_a_folder():
    bpe = tokenizers.Tokenizer.from_str(TOKENIZER.bpe.to_str())
    bpe.decoder = tokenizers.decoders.ByteLevel()
    return json.loads(bpe.to_str())


def with_signs(folder, special):
    """A folder in which the signs of thinking are tokens, as Mistral's reasoning models have it."""
    layout, size = layout_of_a_folder(), len(TOKENIZER.pieces)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    layout["added_tokens"] += [
        {"id": size + i, "content": name, "special": special, **flags}
        for i, name in enumerate(SIGNS)
    ]
    (folder / "tokenizer.json").write_text(json.dumps(layout))
    return Tokenizer.from_folder(folder)


@pytest.mark.parametrize("special", [True, False])
def test_a_control_token_that_parts_thinking_from_the_answer_is_in_the_text(tmp_path, special):
    tokenizer = with_signs(tmp_path, special)
    ids = tokenizer.encode("[THINK]7, or 8?[/THINK]It is 9.")
    size = len(TOKENIZER.pieces)
    assert [i for i in ids if i >= size] == [size, size + 1]
    stream = TextStream(tokenizer)
    text = "".join(map(stream.add, ids)) + stream.finish()
    assert text == tokenizer.decode(ids) == "[THINK]7, or 8?[/THINK]It is 9."
    assert et.extractor("number")(text) == "9"
    assert et.extractor("number")(tokenizer.decode(ids[:-9])) is None


def test_a_sign_of_thinking_that_a_user_types_is_text_where_it_is_a_control_token(tmp_path):
    tokenizer = replace(
        with_signs(tmp_path, True), chat_template="{{ messages[0].content }}[THINK]"
    )
    text = tokenizer.chat([{"role": "user", "content": "a[THINK]"}])
    assert [i for i in tokenizer.encode(text) if i >= len(TOKENIZER.pieces)] == [
        len(TOKENIZER.pieces)
    ]
    assert opened_thinking(text) == "[THINK]"


# --- where a folder keeps its template


def folder_with(folder, **files):
    files["tokenizer.json"] = json.dumps(layout_of_a_folder())
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


JINJA = {"chat_template.jinja": "file"}
SETTINGS = {"tokenizer_config.json": '{"chat_template": "settings"}'}
NAMED = [{"name": "rag", "template": "rag"}, {"name": "default", "template": "named"}]
LISTED = {"tokenizer_config.json": json.dumps({"chat_template": NAMED})}
OLDER = {"chat_template.json": '{"chat_template": "older"}'}
MORE = {"additional_chat_templates/rag.jinja": "rag"}


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({**OLDER, **SETTINGS, **JINJA, **MORE}, "file"),
        ({**OLDER, **SETTINGS}, "settings"),
        ({**OLDER, **LISTED}, "named"),
        (OLDER, "older"),
        ({**OLDER, "tokenizer_config.json": '{"chat_template": null}'}, "older"),
    ],
)
def test_of_several_templates_the_default_is_taken(tmp_path, files, text):
    assert Tokenizer.from_folder(folder_with(tmp_path, **files)).chat(USER) == text


def test_templates_without_a_default_are_none(tmp_path):
    folder = folder_with(tmp_path, **MORE)
    assert not Tokenizer.from_folder(folder).has_chat_template


@pytest.mark.parametrize("text", ["[]", '{"chat_template": 7}', "no"])
def test_a_damaged_older_file_of_a_template_is_named(tmp_path, text):
    with pytest.raises(CheckpointError, match=r"chat_template\.json"):
        Tokenizer.from_folder(folder_with(tmp_path, **{"chat_template.json": text}))

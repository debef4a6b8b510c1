r"""How a text is split before anything merges: `tokenizer.ggml.pre` -> patterns. Knows no token.

They split as llama.cpp does. There case, digits and words are of ASCII alone where it has no class
for them, `\p{Lu}` is any letter, and no range holds a space; these patterns say so.
"""

from typing import NamedTuple


class PreTokenizer(NamedTuple):
    """How texts are split, and what else files of this name mean."""

    patterns: tuple[str, ...]  # each splits the pieces of the one before
    takes_whole: bool = False  # a piece that is a token is this token, whatever the merges build
    add_bos: bool = False  # where the file does not say


_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Not `(?i:'s)`: that would also take a long s.
_CONTRACTION = r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
_OTHERS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
_CASELESS = f"{_CONTRACTION}|{_WORD}{_OTHERS}{_SPACES}"
_QWEN35 = (
    _CONTRACTION
    + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    + _SPACES
)


def _camel(marks: str = "", ending: str = "", digits: str = "") -> str:
    """Words that end where a capital follows a small letter."""
    upper, lower = rf"[\p{{L}}{marks}&&[^a-z]]", rf"[\p{{L}}{marks}&&[^A-Z]]"
    first, second = rf"{upper}*{lower}+{ending}", rf"{upper}+{lower}*{ending}"
    before = r"[^\r\n\p{L}\p{N}]?"
    others = rf"|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*"
    return f"{before}{first}|{before}{second}{others}{_SPACES}"


_MARKED = (
    r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+"
    + f"(?:{_CONTRACTION})?"
    + r"|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*"
    + _SPACES
)
_PUNCTUATED = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
_PUNCTUATED += r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"
_CHINESE = r"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_IDEOGRAPHS = r"[[\u0800-\u9fa5\uac00-\ud7ff]&&[^\s]]+"
_HAN = (
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\x{20000}-\x{2a6df}\x{2a700}-\x{2ebef}"
    r"\x{2f800}-\x{2fa1f}"
)
# Groups of three from the right; what stands before a number goes with its first group.
_THREES = r"[^\p{N}]*\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))"
# Letters of alphabets with two cases, but of none that came late.
_CASED = (
    r"[\p{Lu}\p{Ll}\p{Lt}&&[\x00-\u055f\u0589-\u10c5\u1100-\u1c7f\u1c90-\u2cff\u2d30-\ua78f"
    r"\uab70-\uffff\x{10400}-\x{1044f}\x{104b0}-\x{104fb}\x{10c80}-\x{10cf2}\x{118a0}-\x{118df}"
    r"\x{1e900}-\x{1e943}]]"
)
_SENTENCE = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
_ASIAN = (
    r"[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f"
    r"\u2f00-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f"
    r"\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"
)

_KINDS: dict[str, PreTokenizer] = {
    # llama.cpp's fallback, which is no model's own; a file must name it.
    "default": PreTokenizer((r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", "[0-9]{3}")),
    "gpt-2 a.x-4.0 exaone4 gigachat granite-docling jais jina-de jina-es jina-v1-en jina-v2-code "
    "jina-v2-de jina-v2-es mellum modern-bert mpt olmo phi-2 roberta-bpe trillion": PreTokenizer(
        (_GPT2,)
    ),
    "smollm codeshell command-r exaone mellum2 minerva-7b refact starcoder": PreTokenizer(
        (r"\p{N}", _GPT2)
    ),
    "llama-bpe llama3 llama-v3 falcon3 falcon-h1 jina-v5-nano lfm2 midm-2.0 pixtral": PreTokenizer(
        (_CASELESS % "{1,3}",), takes_whole=True, add_bos=True
    ),
    "chatglm-bpe dbrx glm4 smaug-bpe": PreTokenizer((_CASELESS % "{1,3}",)),
    "qwen2 deepseek-r1-qwen f2llmv2 grok-2 hunyuan kormo megrez solar-open stablelm2": PreTokenizer(
        (_CASELESS % "",)
    ),
    "minicpm5": PreTokenizer((r"\p{N}{1,3}", _CASELESS % "+"), takes_whole=True),
    "laguna": PreTokenizer((r"[^\n]+|[\n]+", _CASELESS % "")),
    "ufakzeka": PreTokenizer((_WORD % "" + _OTHERS + _SPACES,)),
    "qwen35": PreTokenizer((_QWEN35,)),
    "jais-2": PreTokenizer(
        (
            f"{_CONTRACTION}|{_WORD}{_OTHERS}" % "{1,3}"
            + r"|\s*[\r\n]+"
            + "".join(rf"|\s{{{2**n}}}(?!\S)" for n in range(9, 1, -1))
            + r"|\s{1,2}(?!\S)|\s",
        )
    ),
    "bailingmoe bailingmoe2 llada-moe": PreTokenizer(
        (f"{_CONTRACTION}|{_WORD}{_OTHERS}" % "" + r"|\s*[\r\n]|\s+(?!\S)|\s+",)
    ),
    "seed-coder": PreTokenizer(
        (f"{_CONTRACTION}|{_WORD}" % "" + r"| ?[^\s\p{L}\p{N}\r\n]+" + _SPACES,)
    ),
    "exaone-moe": PreTokenizer(
        (
            _CONTRACTION
            + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+"
            + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
        )
    ),
    "tekken": PreTokenizer((_camel(),), takes_whole=True, add_bos=True),
    "gpt-4o kanana2 llama4 minimax-m2 talkie": PreTokenizer(
        (_camel(ending=f"(?:{_CONTRACTION})?", digits="{1,3}"),)
    ),
    "granite-embed-multi-97m": PreTokenizer(
        (_camel(r"\p{M}", f"(?:{_CONTRACTION})?", "{1,3}"),), takes_whole=True
    ),
    "cohere2moe tiny_aya": PreTokenizer((_THREES, _MARKED % "{1,3}")),
    "youtu": PreTokenizer(
        (
            r"[\uac00-\ud7a3\u3131-\u318e]+"
            r"|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c"
            r"\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+|" + _CHINESE,
            _MARKED % "",
        ),
        takes_whole=True,
    ),
    "deepseek-llm": PreTokenizer(
        (
            r"[\r\n]",
            rf"\s?{_CASED}+",
            r"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3001\u3002]+",
            r"\s+\z",
            _IDEOGRAPHS,
            r"\p{N}+",
        )
    ),
    "deepseek-coder": PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _IDEOGRAPHS, r"\p{N}")),
    "deepseek-v3 hunyuan-dense hy_v4 joyai-llm": PreTokenizer(
        (r"\p{N}{1,3}", _CHINESE, _PUNCTUATED + r"[\r\n]*" + _SPACES)
    ),
    "spark2_5": PreTokenizer(
        (r"\p{N}{1,3}", _CHINESE, _PUNCTUATED + r"|[\r\n]|\s+(?!\S)|\s+", r"\p{N}")
    ),
    "afmoe": PreTokenizer((_THREES, _ASIAN, _PUNCTUATED + r"[\r\n]*" + _SPACES)),
    "falcon": PreTokenizer((r"[\p{P}$+<=>^~|`]+", _GPT2, "[0-9]{3}")),
    "bloom gpt3-finnish poro-chat": PreTokenizer((_SENTENCE,)),
    "viking": PreTokenizer((_SENTENCE, r"\p{N}")),
    "chameleon": PreTokenizer(
        (
            "<sentinel:[0-9]+>",
            "IMGIMG[A-I]{1,4}Z",
            r"[\t\n]|    |  ",
            r"\p{N}",
            r"[\p{P}!-/:-@\[-`{-~]",
            _GPT2,
        ),
        add_bos=True,
    ),
    "kimi-k2": PreTokenizer(
        (
            rf"[{_HAN}]+|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}&&[^{_HAN}]]+(?:{_CONTRACTION})?|\p{{N}}{{1,3}}"
            + _OTHERS
            + _SPACES,
        )
    ),
    "superbpe": PreTokenizer((r"\p{N}+", r"(?=(?:[0-9]{3})+(?![0-9]))")),
}
PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    name: pre for names, pre in _KINDS.items() for name in names.split()
}

r"""Gives the symbols of numbers in Unicode and LaTeX one canonical spelling. Knows text only.

Digits, signs and spaces become ASCII, `½` becomes ` 1/2 `, `10⁵` becomes `10^{5}`, `\dfrac` becomes
`\frac`, `1{,}000` becomes `1,000`; formatting is dropped.
"""

import re
import unicodedata

_SAME = {
    **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d", "-"),  # minus, hyphens, en dash
    **dict.fromkeys("\u00d7\u22c5\u00b7\u2219\u2217", " * "),  # times, dots, star
    **dict.fromkeys("\u00f7\u2044\u2215", "/"),
    **dict.fromkeys("≈≃≅≤≥≠≡→⇒⟹⇔∈∴↦", "="),  # each side is an expression of its own
    **dict.fromkeys("\u2019\u2018\u2032", "'"),
    **dict.fromkeys("\u00ba\u02da", "°"),
    "\N{ARABIC DECIMAL SEPARATOR}": ".",
    "\N{ARABIC THOUSANDS SEPARATOR}": ",",
    "\N{EM DASH}": "--",
    "…": "..",
    "‰": r"\permil ",
}
_KINDS = {"Sc": "$", "Zs": " ", "Zl": "\n", "Zp": "\n", "Cf": ""}


class _Characters(dict[int, str]):
    """Non-ASCII characters -> canonical spelling, computed on first use."""

    def __missing__(self, code: int) -> str:
        self[code] = spelling = chr(code) if code < 128 else _spelled(chr(code))
        return spelling


def _spelled(character: str) -> str:
    if character in _SAME:
        return _SAME[character]
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    kind, form = unicodedata.category(character), unicodedata.decomposition(character)
    if kind in _KINDS:
        return _KINDS[kind]
    if not form.startswith("<"):
        return character
    plain = unicodedata.normalize("NFKC", character).translate(_CHARACTERS)
    if form.startswith("<super>"):
        return f"^{{{plain}}}"
    if form.startswith("<sub>"):
        return f"_{{{plain}}}"
    # Set apart from digits: 2½ is not 21/2.
    return f" {plain} ".replace("/ ", "/") if any(map(str.isdigit, plain)) else plain


_CHARACTERS = _Characters()
_FORMATTING = (
    r"\\(?:left|right|[bB]igg?[lrm]?|(?:display|text|script)style|text(?:bf|it|rm|sf|tt|up|normal)?"
    r"|math(?:bf|rm|it|sf|tt|normal)|[mhf]box|boxed|framebox|bm|boldsymbol|emph|underline|bf|it|rm)"
    r"(?![A-Za-z])"
)
_LATEX = {
    r"\\\\|\\(?:begin|end) ?\{(?:align|aligned|equation|gather|gathered|split|center)\*?\}"
    r"|\\item(?![A-Za-z])": "\n",
    rf"(?<=-){_FORMATTING}|\\!": "",
    rf"{_FORMATTING}|\\(?:text)?color ?\{{\w+\}}|\\[,;:> ()\[\]]|~"
    r"|\\(?:q?quad|thinspace|enspace|checkmark|(?:black)?square|qed)(?![A-Za-z])": " ",
    r"\\\{": "[",
    r"\\\}": "]",
    r"\\(?:textminus|minus)(?![A-Za-z])": "-",
    r"\{ *([-+,.]) *\}|\{ *\}": r"\1",
    r"\\(?:times|cdot|ast)(?![A-Za-z]) ?": " * ",
    r"\\div(?![A-Za-z]) ?": "/",
    r"\\(?:[dtcs]|nice)frac(?![A-Za-z])": r"\\frac",
    r"\^ ?\{? ?\\circ(?![A-Za-z]) ?\}?|\\degree(?![A-Za-z])": "°",
    r"\\(?:approx|simeq|sim|leq?|geq?|lt|gt|neq?|equiv|to|(?:long)?(?:right|Right)arrow"
    r"|Longrightarrow|implies|iff|therefore|in|mapsto|land|lor|mid)(?![A-Za-z])": " = ",
    r"(\.\d*)\\(?:overline|bar|dot) ?\{ ?(\d+) ?\}": "\\1\N{OVERLINE}\\2\N{OVERLINE}",
    r"\^ ?(?:\{ ?\{(?:st|nd|rd|th)\} ?\}|\{ ?(?:st|nd|rd|th) ?\})": "",
    r"\\(?=[^A-Za-z\s])": "",
}
_SUPERSCRIPTS = re.compile(r"\}\^\{|\}_\{(?=[\d+-]*\})")  # two in a row
_PLAIN = {
    r"\b(?:minus|negative) (?=[\d.$\\])": "-",
    r"- ?\$(?=[ \d.])": "-",
    r"(?<![A-Za-z])(?:USD|EUR|GBP|AUD|CAD|CHF|INR|US|Rs)\$?(?=\d)|\$": " ",
    r"(?<=[\d)}])\*\*(?=[\d(])": "^",
    r"(?<=\d) (?:over|out of|plus|times|choose|(?:multiplied|divided) by|raised to"
    r"|(?:raised )?to the(?: power(?: of)?)?) (?=\d)"
    r"|(?<=[\d)}%])(?: per ?cent)? ?\{? of \}? ?(?=\d)"
    r"|(?<=\d) and (?=\d+ ?/ ?\d|\d+ (?:hal|third|quarter|fourth|fifth)|\\frac"
    r"|(?:an?|one|two|three)[ -](?:half|third|quarter))": " + ",
    # A number that something is still to be done to: no number yet.
    r"\b(?:root of|(?:half|thirds?|quarters?) of|twice|double|triple) (?=\d)": "sqrt ",
    r"(?<=\d) ?[xX] ?(?=10\^)|(?<=\d) [xX] (?=\d)": "*",
}
_LATEX_PATTERNS, _PLAIN_PATTERNS = (
    [(re.compile(pattern), spelling) for pattern, spelling in table.items()]
    for table in (_LATEX, _PLAIN)
)
_SPACED = re.compile(r"(?<![\w.,'/^}])(?<!\d )([1-9]\d{0,2})(?=((?: \d{3})+))\2(?!\d| ?/)")


_REPEATED = re.compile(  # by lines above each digit, or dots above the first and the last
    r"(\.\d*?)((?:\d[\u0304\u0305])+|\d\u0307(?:\d*\d\u0307)?)(?![\d\u0300-\u036f])"
)


def _repeated(match: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", match[2])
    return f"{match[1]}\N{OVERLINE}{digits}\N{OVERLINE}"


def plain_characters(text: str) -> str:
    """The text with the non-ASCII symbols of numbers in canonical spelling.

    >>> plain_characters("2½ ≈ 10⁵")
    '2 1/2  = 10^{5}'
    """
    if text.isascii():
        return text
    return _REPEATED.sub(_repeated, _SUPERSCRIPTS.sub("", text.translate(_CHARACTERS)))


def plain_latex(text: str) -> str:
    r"""The text with LaTeX, currencies and grouped thousands in canonical spelling.

    >>> plain_latex(r"\dfrac{1}{2}, 1{,}000\,km, 1 000")
    '\\frac{1}{2}, 1,000 km, 1_000'
    """
    if "\\" in text or "~" in text or "{" in text:
        for pattern, spelling in _LATEX_PATTERNS:
            text = pattern.sub(spelling, text)
    for pattern, spelling in _PLAIN_PATTERNS:
        text = pattern.sub(spelling, text)
    return _SPACED.sub(lambda match: match[0].replace(" ", "_"), text)

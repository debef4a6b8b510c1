"""The tables of `docs/models.md` say what the tests hold, no more and no less."""

import pytest
from model_tables import FILE, FOLDER, NOTHING, PAGE, families, formats, table, with_tables

from edifice_tt.nn.formats import FORMATS
from edifice_tt.weights.families import FAMILIES


def test_the_tables_of_the_page_are_those_of_the_tests():
    page = PAGE.read_text()
    assert page == with_tables(page), "run: python tests/model_tables.py"


def test_every_family_and_every_block_format_has_its_rows():
    _, *rows = families()
    assert [row[:2] for row in rows] == [(n, kind) for n in FAMILIES for kind in (FOLDER, FILE)]
    _, *rows = formats()
    assert [row[0] for row in rows] == list(FORMATS)
    assert NOTHING not in {row[-1] for row in rows}


def test_a_family_without_a_reference_is_seen_in_the_table():
    """Mistral's GGUF files say `llama`."""
    rows = {row[:2]: row[3:] for row in families()}
    assert set(rows["mistral", FILE]) == {NOTHING}
    assert "SentencePiece" in rows["llama", FILE][1]
    assert rows["gemma3", FOLDER][2].endswith("chats: transformers")


@pytest.mark.parametrize("lost", [0, 1])
def test_a_page_that_lost_a_table_is_no_page(lost):
    tables = [table(families()), table(formats())]
    with_tables("\n\n".join(tables) + "\n")
    del tables[lost]
    with pytest.raises(ValueError, match="must have one table"):
        with_tables("\n\n".join(tables) + "\n")

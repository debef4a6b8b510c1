"""What is taken of a repository by the names of its files, and how parts are counted."""

import pytest

from edifice_tt.weights.gguf_names import PREFERRED, choose, is_of, part_names


def test_types_are_taken_in_the_stated_order():
    files = [f"m-{kind}.gguf" for kind in PREFERRED]
    assert PREFERRED[0] == "Q4_K_M"
    for first, kind in zip(files, PREFERRED, strict=True):
        assert choose(reversed(files[files.index(first) :])) == first
        assert [is_of(file, kind) for file in files].count(True) == 1


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        (["Q_Qwen3-0.6B-Q4_K_M.gguf", "Q_Qwen3-0.6B-Q8_0.gguf"], "Q_Qwen3-0.6B-Q4_K_M.gguf"),
        (["qwen2.5-0.5b-q4_k_m.gguf", "b-q8_0.gguf"], "qwen2.5-0.5b-q4_k_m.gguf"),
        (["m.Q8_0.gguf", "README.md", "mmproj-F16.gguf"], "m.Q8_0.gguf"),
        (["only-IQ2_M.gguf", "imatrix_x.gguf"], "only-IQ2_M.gguf"),
        (["B/m-00001-of-00002.gguf", "B/m-00002-of-00002.gguf"], "B/m-00001-of-00002.gguf"),
        (["a-Q4_0_4_4.gguf", "a-F16.gguf"], "a-F16.gguf"),
        (["a-Q4_K_M.gguf", "b-Q4_K_M.gguf", "a-Q8_0.gguf"], None),
        (["a.gguf", "b.gguf"], None),
        (["README.md"], None),
    ],
)  # fmt: skip
def test_the_choice_among_files(files, taken):
    assert choose(files) == taken


@pytest.mark.parametrize("name", ["a-00000-of-00000.gguf", "a-1-of-2"])
def test_what_counts_no_parts_is_one_file(name):
    assert part_names(name) == [name]

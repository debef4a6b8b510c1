"""Mistral's folders: Llama with a window. Its GGUF files say `llama`."""

from edifice_tt.weights.families.family import Family

FAMILY = Family(
    "mistral",
    rotary_pairs=True,
    defaults={"sliding_window": 4096, "max_position_embeddings": 131072},
    windowed=lambda layer, config: True,
)

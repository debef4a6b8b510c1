"""Mistral's folders: Llama with a window. Its GGUF files say `llama`."""

from edifice_tt.weights.families.family import Family, every_layer

FAMILY = Family(
    "mistral",
    rotary_pairs=True,
    defaults={"max_position_embeddings": 131072, "num_key_value_heads": 8, "sliding_window": 4096},
    windowed=every_layer,
)

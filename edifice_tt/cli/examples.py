"""Examples of each command, shown at the end of its help. Knows names; imports nothing."""

EXAMPLES = {
    "best-of": (
        'edifice-tt best-of "What is the capital of France?" -n 16',
        'edifice-tt best-of "What is 12 + 30?" --rule majority --answer number',
        'edifice-tt best-of "Name a fruit." -m qwen3:0.6b -o fruit.jsonl',
    ),
    "chat": (
        "edifice-tt chat",
        'edifice-tt chat -m qwen3:0.6b -n 4 --system "Be brief." -o talk.jsonl',
    ),
    "generate": (
        'edifice-tt generate "Name a fruit." -n 8 --seed 1 -o fruit.jsonl',
        "edifice-tt generate --problems problems.jsonl -n 16 -o pool.jsonl --resume",
        "edifice-tt generate --task largest --num 100 -o train.jsonl",
    ),
    "score": (
        "edifice-tt score pool.jsonl --scorer logprob",
        "edifice-tt score pool.jsonl --verifier verifier.safetensors",
        "edifice-tt score pool.jsonl --judge owner/repo --resume",
    ),
    "select": (
        "edifice-tt select pool.jsonl --scorer logprob",
        "edifice-tt select pool.jsonl --rule majority --answer number",
    ),
    "grade": ("edifice-tt grade pool.jsonl --answer number",),
    "import-pool": (
        "edifice-tt import-pool answers.jsonl --answer number -o pool.jsonl",
        "edifice-tt import-pool answers.jsonl --range probability -o pool.jsonl",
        "edifice-tt import-pool data.parquet --prompt-field problem -o pool.jsonl",
    ),
    "merge": ("edifice-tt merge one.jsonl two.jsonl -o both.jsonl",),
    "show": ("edifice-tt show pool.jsonl", "edifice-tt show pool.jsonl p1 --all"),
    "split": ("edifice-tt split pool.jsonl --train 0.8",),
    "export": ("edifice-tt export pool.jsonl --csv pool.csv",),
    "judge": ("edifice-tt judge owner/repo",),
    "calibrate": ("edifice-tt calibrate pool.jsonl --scorer rm --method isotonic",),
    "combine": ("edifice-tt combine pool.jsonl --scorer rm --scorer prm --how fitted",),
    "agreement": ("edifice-tt agreement pool.jsonl",),
    "tasks": ("edifice-tt tasks", "edifice-tt tasks largest"),
    "train": ("edifice-tt train train.jsonl -o verifier.safetensors",),
    "layers": ("edifice-tt layers train.jsonl --layers 8,15,22,30",),
    "curve": (
        "edifice-tt curve pool.jsonl --html report.html",
        "edifice-tt curve pool.jsonl --rules majority,best_of_n --ks 1,4,16",
    ),
    "search": (
        'edifice-tt search adaptive "What is 12 + 30?" --answer number -n 16',
        "edifice-tt search beam --task largest --scorer logprob -o pool.jsonl",
    ),
    "replay": ("edifice-tt replay adaptive pool.jsonl --answer number --option threshold=0.9",),
    "list": ("edifice-tt list", "edifice-tt list --json"),
    "plugins": ("edifice-tt plugins",),
    "doctor": ("edifice-tt doctor", "edifice-tt doctor --device CPU --quick"),
    "models": ("edifice-tt models",),
    "pull": ("edifice-tt pull qwen3:0.6b", "edifice-tt pull owner/repo/FILE.gguf"),
}

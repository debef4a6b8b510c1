"""A scorer head that a model was given later, and the registered name that it is saved by.

Knows configs and heads; no file.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tinygrad.nn.state import get_state_dict

from edifice_tt.contract import registry
from edifice_tt.contract.errors import EdificeError
from edifice_tt.machine.exclusive import exclusive
from edifice_tt.nn.buffers import place
from edifice_tt.nn.heads import make_head

HEADED = ("causal_lm", "test_time_compute")  # whose heads are those of `make_head`
_TRAINING = ("dropout", "seed")  # attributes that change no score


def check_head(scorer: str) -> None:
    """Raise for the name of a scorer that is no head."""
    if (reads := registry.scorer(scorer).reads) != "hidden":
        raise ValueError(
            f"scorer={scorer!r} reads {reads}, so it is no head of a model; score with it, and "
            "leave it out here"
        )


@exclusive
def add_head(model: Any, scorer: str) -> None:
    """Give a model a new head of that name, unless it has its own, which is kept.

    Raises `EdificeError` for a model with another head, or without a place for one.
    """
    if getattr(model, "architecture", None) not in HEADED:
        raise EdificeError(f"a {type(model).__name__} has no place for a head, given {scorer!r}")
    if model.scorer is None:
        config = replace(model.config, scorer=scorer)
        model.scorer = place(make_head(config), model.device)
        model.config = config
    elif scorer != model.config.scorer:
        raise EdificeError(
            f"the model has a head already, {model.config.scorer!r}, given {scorer!r}; leave out "
            "scorer=, or set the model's attribute scorer"
        )


def config_to_save(model: Any) -> Any:
    """The model's config with the name of the head that it has now.

    Raises `EdificeError` for a head that no registered scorer, or more than one, would make.
    """
    config = model.config
    if getattr(model, "architecture", None) not in HEADED:
        return config
    if model.scorer is None:
        return replace(config, scorer=None)
    found = {one.scorer: one for one in _configs(model)}
    if config.scorer in found:
        return found[config.scorer]
    if len(found) == 1:
        return found.popitem()[1]
    kind = type(model.scorer).__name__
    if found:
        raise EdificeError(
            f"the model's head, a {kind}, may be any of the scorers {', '.join(found)}; load the "
            "model with scorer=NAME, and put the head's weights into that"
        )
    raise EdificeError(
        f"no registered scorer makes the model's head, a {kind} with these weights and attributes, "
        "so it could not be loaded again; register its factory (docs/write-a-scorer.md)"
    )


def has_head(model: Any, scorer: str) -> bool:
    """Whether the model's head is one of that name."""
    if model.scorer is None:
        return False
    if model.config.scorer == scorer:
        return type(model.scorer) is type(make_head(model.config))
    return any(one.scorer == scorer for one in _configs(model))


def _configs(model: Any) -> Iterator[Any]:
    """The config for each registered scorer that makes a head like the model's."""
    head = _about(model.scorer)
    shapes: dict[str, tuple[int, ...]] = head[1]
    own = model.config.scorer_hidden
    sizes = [own, *sorted({size for shape in shapes.values() for size in shape} - {0, own})]
    for name, record in registry.load_registry().scorers.items():
        for size in sizes if record.reads == "hidden" else ():
            config = replace(model.config, scorer=name, scorer_hidden=size)
            try:
                made = make_head(config)
            except Exception:  # a plugin may refuse a size by any error
                continue
            if _about(made) == head:
                yield config
                break


def _about(head: Any) -> tuple[type, dict[str, tuple[int, ...]], dict[str, Any]]:
    shapes = {name: weight.shape for name, weight in get_state_dict(head).items()}
    plain = {
        name: value
        for name, value in getattr(head, "__dict__", {}).items()
        if isinstance(value, int | float | str) and name not in _TRAINING
    }
    return type(head), shapes, plain

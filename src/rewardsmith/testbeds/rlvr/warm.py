"""A supervised warm start that stops early, kept in a folder: every arm starts at the same weights.

Demonstrations are right answers to problems of the train split (the thinking task's are noisy; see
there). Training stops where the sampled accuracy on held-out problems is within the target: some
problems are answered nearly always, some nearly never, and RL has both to learn from.
"""

import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...core.fingerprint import digest
from .measures import measure
from .model import tiny_model, tokenizer
from .tasks import Task

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

# Change it where the training below changes: kept weights of before are then not used.
_VERSION = 2
_EVERY = 20
_PROBED = 256


def warm_start(
    task: Task,
    seed: int,
    target: tuple[float, float] = (0.2, 0.4),
    folder: str | Path | None = None,
    *,
    learning_rate: float = 3e-3,
    batch: int = 128,
    most: int = 3000,
    device: str = "cpu",
    **sizes: Any,
) -> Path:
    """Train a :func:`tiny_model` on demonstrations until its held-out pass@1 is in a target range.

    AdamW on the answers' tokens. Every 20 steps one answer at temperature 1 to each of 256 held-out
    problems is checked; within the target, training stops. Where a check lies above it, the weights
    of the check before are taken again, and the learning rate is halved.

    A task with domains or levels is demonstrated by need: each in proportion to what it lacks of
    the target's upper end, and at least by a quarter of that end. Training goes on until each of
    them is at half of the lower end, or more, so that RL has something to find everywhere. The
    upper end is that of the weakest: easy domains may lie above it, for they get there before hard
    ones get anywhere.

    What the weights depend on is in the name of their folder. A folder appears whole or not at all:
    two processes may ask at once, then both train and the later one takes the weights of the first.

    Args:
        task: gives the demonstrations and the check.
        seed: of the weights and of the demonstrations.
        target: the lowest and the highest pass@1, over all rows; the highest of the weakest domain.
        folder: where warm starts are kept; default ``rewardsmith/rlvr`` in the user's cache folder.
        learning_rate: of AdamW, after 20 steps of rising.
        batch: demonstrations per step.
        most: steps, at most.
        device: where it is trained, such as ``"cuda"``.
        **sizes: of :func:`tiny_model`.

    Returns:
        A folder for ``from_pretrained`` and :func:`load_model`, with the tokenizer, and what was
        found in ``warm_start.json``: ``steps``, ``pass_at_1``, ``settings``.

    Raises:
        ValueError: a target that is no range within 0 and 1, or one that was not met in ``most``
            steps.
    """
    low, high = target
    if not 0 <= low < high <= 1:
        raise ValueError(f"warm_start: target is {target}, it must be low < high within 0 and 1")
    settings = {
        "task": task.name,
        "data": _data_digest(task),
        "seed": seed,
        "target": [low, high],
        "learning_rate": learning_rate,
        "batch": batch,
        "most": most,
        "device": torch.device(device).type,
        "sizes": sizes,
        "version": _VERSION,
        "torch": torch.__version__,
    }
    root = Path(folder) if folder is not None else _cache()
    name = "".join(c if c.isalnum() else "_" for c in task.name)[:40]
    place = root / f"{name}-{seed}-{digest(settings)}"
    if place.exists():
        return place
    model: Any = tiny_model(seed, **sizes)
    model.to(device)
    found = _train(model, task, seed, (low, high), learning_rate, batch, most)
    root.mkdir(parents=True, exist_ok=True)
    # Renaming within a folder is atomic: nobody ever reads half of a model.
    begun = Path(tempfile.mkdtemp(dir=root, prefix=".begun-"))
    try:
        model.save_pretrained(begun)
        tokenizer().save_pretrained(begun)
        (begun / "warm_start.json").write_text(json.dumps({**found, "settings": settings}))
        begun.rename(place)
    except OSError:
        if not place.exists():
            raise
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    return place


def load_model(path: str | Path, device: str = "cpu") -> "LlamaForCausalLM":
    """The model of a folder that :func:`warm_start` returned, in float32 and train mode."""
    from transformers import LlamaForCausalLM

    model: Any = LlamaForCausalLM.from_pretrained(path, dtype=torch.float32, local_files_only=True)
    loaded: LlamaForCausalLM = model.to(device).train()
    return loaded


def _train(
    model: Any,
    task: Task,
    seed: int,
    target: tuple[float, float],
    learning_rate: float,
    batch: int,
    most: int,
) -> dict[str, float]:
    words, rng = tokenizer(), random.Random(f"{task.name}:{seed}")
    probe = task.rows("held_out")[:_PROBED]
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    kept, rate, passed = _copy(model), 1.0, 0.0
    weights: list[float] | None = None
    for step in range(1, most + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * rate * min(1.0, step / 20)
        loss = demonstration_loss(model, words, task.demonstrations(rng, batch, weights))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % _EVERY:
            continue
        found = measure(model, words, task, probe, samples=1, ks=(1,), seed=step)
        passed = found.pass_at[1]
        parts = {
            (column, value): part.pass_at[1]
            for column, of in list(found.parts.items())[:1]
            for value, part in of.items()
        }
        if parts:
            weights = _by_need(task, parts, target[1])
        low = min(parts.values(), default=passed)
        if passed < target[0] or low < target[0] / 2:
            kept = _copy(model)
        elif low <= target[1]:
            return {"steps": step, "pass_at_1": passed}
        else:
            model.load_state_dict(kept)
            rate /= 2
    raise ValueError(
        f"warm_start: {task.name} with seed {seed} is at pass@1 {passed:.3f} after {most} steps, "
        f"the target is {target}: give it more steps or another learning rate"
    )


def demonstration_loss(
    model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]]
) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens, ends included, in nats; prompts do not count.

    Args:
        model: a causal language model.
        tokenizer: pads on the left, with a pad token of its own.
        pairs: prompts and answers, without the end token.
    """
    end = tokenizer.eos_token
    asked = tokenizer([prompt for prompt, _ in pairs], return_tensors="pt", padding=True)
    said = tokenizer(
        [answer + end for _, answer in pairs],
        return_tensors="pt",
        padding=True,
        padding_side="right",
    )
    ids, seen = (
        torch.cat([asked[key], said[key]], dim=1).to(model.device)
        for key in ("input_ids", "attention_mask")
    )
    labels = ids.masked_fill(seen == 0, -100)
    labels[:, : asked["input_ids"].shape[1]] = -100
    positions = (seen.cumsum(1) - 1).clamp(min=0)
    loss: torch.Tensor = model(
        input_ids=ids, attention_mask=seen, position_ids=positions, labels=labels
    ).loss
    return loss


def _by_need(task: Task, parts: dict[tuple[str, str], float], goal: float) -> list[float]:
    """Of each train row: what its domain lacks of a goal, at least a quarter of all of it.

    With much less, an easy domain is forgotten while a hard one is learned.
    """
    column = next(iter(parts))[0]
    need = {value: max(goal - passed, goal / 4) for (_, value), passed in parts.items()}
    return [need[row[column]] for row in task.train]


def _copy(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _data_digest(task: Task) -> str:
    """Of the problems, and of some demonstrations: what names them may not tell them apart."""
    shown = task.demonstrations(random.Random(0), 64)
    text = json.dumps([task.train, task.held_out, shown])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "rewardsmith" / "rlvr"

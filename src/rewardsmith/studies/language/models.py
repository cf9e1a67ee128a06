"""What a study's learner is made of: tokenizer, model, a supervised warm start, TRL's settings."""

import dataclasses
import inspect
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trl
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from ...core.catalog import nearest
from ...core.errors import RewardsmithError
from .problems import Row
from .spec import LanguageStudy

_OURS = {
    "seed": "each run has its own",
    "data_seed": "each run has its own",
    "max_steps": "write learner.steps",
    "num_train_epochs": "write learner.steps",
    "output_dir": "runs lie below --out",
    "eval_strategy": "see evaluation.every",
    "eval_steps": "see evaluation.every",
    "report_to": "see trackers",
    "push_to_hub": "what a run trained lies in its folder",
}
"""What the study decides itself, and where."""


def make_tokenizer(study: LanguageStudy) -> Any:
    """The tokenizer, which pads on the left.

    Raises:
        SpecError: there is none, or what makes it fails.
    """
    section = study.section.learner
    if (call := study.maker("tokenizer")) is not None:
        made = _called(study, call, {}, "tokenizer")
    else:
        if section.tokenizer is None and study.maker("model") is not None:
            told = "a model that a function makes has no tokenizer of its own: name one"
            raise study.document.error(told, ("learner", "model"))
        place = "tokenizer" if section.tokenizer else "model"
        made = _loaded(study, AutoTokenizer, section.tokenizer or section.model, place)
    if made.pad_token is None:
        made.pad_token = made.eos_token
    made.padding_side = "left"
    return made


def make_model(study: LanguageStudy, tokenizer: Any, rows: Sequence[Row], seed: int) -> Any:
    """The initial model of a run: its seed decides what is drawn, not the reward.

    Args:
        study: what names it.
        tokenizer: for a function that asks for it.
        rows: the problems to train on, likewise.
        seed: likewise, and of all generators.

    Raises:
        SpecError: it cannot be had.
    """
    section = study.section.learner
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    given = {"tokenizer": tokenizer, "problems": list(rows), "seed": seed}
    if (call := study.maker("model")) is not None:
        model = _called(study, call, given, "model")
    else:
        # In half precision AdamW loses most updates, whatever the checkpoint was saved in.
        wanted = {"dtype": torch.float32, **(study.params().get("model_init_kwargs") or {})}
        model = _loaded(study, AutoModelForCausalLM, section.model, "model", **wanted)
    if section.warm_start is not None:
        _warm_start(study, model, tokenizer, rows, seed)
    return model


def check_model(study: LanguageStudy) -> None:
    """See that a model that is loaded is there, without its weights.

    Raises:
        SpecError: it is not.
    """
    if study.maker("model") is None:
        _loaded(study, AutoConfig, study.section.learner.model, "model")


def trainer_settings(study: LanguageStudy, folder: Path, seed: int) -> Any:
    """The settings of TRL's trainer.

    Raises:
        SpecError: one is unknown, is decided by the study, or is refused.
    """
    given = study.params()
    known = [field.name for field in dataclasses.fields(trl.GRPOConfig)]
    for name in given:
        place = ("learner", "params", name)
        if name in _OURS:
            raise study.document.error(f"leave {name} out: {_OURS[name]}", place)
        if name not in known:
            told = f"GRPOConfig has no setting {name!r}{nearest(name, known)}"
            raise study.document.error(told, place)
        if name == "model_init_kwargs" and study.maker("model") is not None:
            told = "these are for a model that is loaded, and here a function makes it"
            raise study.document.error(told, place)
    usual = {
        "bf16": torch.cuda.is_available(),
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "logging_steps": 10,
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    fixed = {
        "output_dir": str(folder),
        "seed": seed,
        "max_steps": study.steps,
        "report_to": "none",
    }
    try:
        # The trainer is given a model, and would only say that it does not read these.
        read = {name: value for name, value in given.items() if name != "model_init_kwargs"}
        return trl.GRPOConfig(**{**usual, **read, **fixed})
    except (TypeError, ValueError, ImportError) as error:
        raise study.document.error(f"GRPOConfig: {error}", ("learner", "params")) from error


def make_lora(study: LanguageStudy) -> Any:
    """The settings of LoRA, or None.

    Raises:
        SpecError: peft is not installed or refuses them.
    """
    given = study.lora()
    if given is None:
        return None
    place = ("learner", "lora")
    try:
        from peft import LoraConfig
    except ModuleNotFoundError as error:
        raise study.document.error("LoRA needs peft: pip install peft", place) from error
    known = [field.name for field in dataclasses.fields(LoraConfig)]
    for name in given:
        if name not in known:
            told = f"LoraConfig has no setting {name!r}{nearest(name, known)}"
            raise study.document.error(told, (*place, name))
    try:
        return LoraConfig(**{"task_type": "CAUSAL_LM", **given})
    except (TypeError, ValueError) as error:
        raise study.document.error(f"LoraConfig: {error}", place) from error


def _loaded(study: LanguageStudy, kind: Any, name: str, place: str, **options: Any) -> Any:
    """What transformers loads by a name, or from a folder beside the study."""
    folder = study.document.base / name
    try:
        return kind.from_pretrained(str(folder) if folder.is_dir() else name, **options)
    except Exception as error:
        told = f"{kind.__name__} cannot load {name!r}: {type(error).__name__}: {error}"
        raise study.document.error(told, ("learner", place)) from error


def _called(study: LanguageStudy, call: Any, known: Mapping[str, Any], place: str) -> Any:
    """What a function returns that is given what it names."""
    names = inspect.signature(call).parameters
    needed = [n for n, p in names.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if unknown := [name for name in needed if name not in known]:
        told = f"there is no {unknown[0]!r} to give it; there is {', '.join(known) or 'nothing'}"
        raise study.document.error(told, ("learner", place))
    try:
        return call(**{name: known[name] for name in names if name in known})
    except RewardsmithError:
        raise
    except Exception as error:
        told = f"the function failed: {type(error).__name__}: {error}"
        raise study.document.error(told, ("learner", place)) from error


def _warm_start(
    study: LanguageStudy, model: Any, tokenizer: Any, rows: Sequence[Row], seed: int
) -> None:
    """AdamW on the cross-entropy of given completions, their ends included."""
    section = study.section.learner.warm_start
    assert section is not None
    place = ("learner", "warm_start", "completion")
    for i, row in enumerate(rows):
        if not isinstance(row.get(section.completion), str):
            told = (
                f"row {i} has no text in the column {section.completion!r} to imitate; its "
                f"columns: {', '.join(row)}"
            )
            raise study.document.error(told, place)
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=section.learning_rate)
    model.train()
    for _ in range(section.steps):
        drawn = rng.choices(rows, k=section.batch_size)
        loss = _imitation_loss(model, tokenizer, drawn, section.completion)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.zero_grad()


def _imitation_loss(
    model: Any, tokenizer: Any, rows: Sequence[Row], completion: str
) -> torch.Tensor:
    asked = prompt_ids(tokenizer, [row["prompt"] for row in rows])
    said = [
        [*tokenizer(row[completion], add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        for row in rows
    ]
    width = max(len(a) + len(b) for a, b in zip(asked, said, strict=True))
    ids = torch.full((len(rows), width), tokenizer.pad_token_id)
    labels = torch.full((len(rows), width), -100)
    seen = torch.zeros(len(rows), width, dtype=torch.int64)
    for i, (a, b) in enumerate(zip(asked, said, strict=True)):
        n = len(a) + len(b)
        ids[i, :n], seen[i, :n] = torch.tensor([*a, *b]), 1
        labels[i, len(a) : n] = torch.tensor(b)
    device = model.device
    loss: torch.Tensor = model(
        input_ids=ids.to(device), attention_mask=seen.to(device), labels=labels.to(device)
    ).loss
    return loss


def prompt_ids(tokenizer: Any, prompts: Sequence[Any]) -> list[list[int]]:
    """The tokens of prompts, texts or messages, as TRL's trainer makes them."""
    if isinstance(prompts[0], str):
        return list(tokenizer(text=list(prompts))["input_ids"])
    made = tokenizer.apply_chat_template(
        conversation=list(prompts), add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return list(made["input_ids"])

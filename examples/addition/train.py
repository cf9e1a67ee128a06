"""A small transformer learns sums of two digits, up to nine, by GRPO under reward.yaml.

Nothing is fetched: the model and its tokenizer are made here. A supervised warm start shows the
form ``<answer>7</answer>`` and where sums lie: its answers are the sum, one less or one more, each
as often. So the model is right about a third of the time, and which of the three is right it can
learn from the reward alone.

    python train.py --seed 0 1 2
"""

import argparse
import random
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

import rewardsmith as rs
from rewardsmith.adapters.trl import to_trl

REWARD = Path(__file__).parent / "reward.yaml"
WORDS = ["<pad>", "<eos>", "<answer>", "</answer>", *"0123456789+="]
PAIRS = [(a, b) for a in range(10) for b in range(10 - a)]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A token for each digit, sign and tag."""
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = Split(Regex(r"</?answer>|."), behavior="isolated")
    words.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="<eos>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def make_model(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config)


def rows(pairs: list[tuple[int, int]]) -> Dataset:
    return Dataset.from_list([{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a, b in pairs])


def warm_start(model: Any, tokenizer: Any, seed: int, steps: int) -> None:
    """Supervised steps on sums that are right or one off."""
    draw = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        texts = []
        for a, b in draw.choices(PAIRS, k=128):
            said = max(0, a + b + draw.choice((-1, 0, 1)))
            texts.append(f"{a}+{b}=<answer>{said}</answer><eos>")
        batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        labels = ids.masked_fill(mask == 0, -100)
        labels[:, :4] = -100  # the question
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def answers(model: Any, tokenizer: Any, samples: int = 20) -> tuple[list[str], list[str], Any]:
    """Sampled answers to all sums: prompts, completions, and the right ones."""
    model.eval()
    asked = [pair for pair in PAIRS for _ in range(samples)]
    prompts = [f"{a}+{b}=" for a, b in asked]
    batch = tokenizer(prompts, return_tensors="pt")
    out = model.generate(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        max_new_tokens=6,
        do_sample=True,
    )
    said = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return prompts, said, [str(a + b) for a, b in asked]


def accuracy(model: Any, tokenizer: Any) -> float:
    """The share of answers that are right and in their form."""
    _, said, right = answers(model, tokenizer)
    return sum(x == f"<answer>{y}</answer>" for x, y in zip(said, right, strict=True)) / len(right)


def train(seed: int, steps: int = 600, warm: int = 150) -> dict[str, Any]:
    """Warm start, then GRPO; what was found."""
    tokenizer, model = make_tokenizer(), make_model(seed)
    cold = accuracy(model, tokenizer)
    warm_start(model, tokenizer, seed, warm)
    before = accuracy(model, tokenizer)
    reward = rs.load(REWARD)
    prompts, said, right = answers(model, tokenizer)
    rs.learn(reward, rs.Rollouts.from_text(prompts, said, answer=right))
    state = str(reward.state_dict())
    with warnings.catch_warnings():
        # It says that the reward does not learn any more, which is what is shown here.
        warnings.simplefilter("ignore")
        function = to_trl(reward)
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=function,
            args=config(folder, seed, steps),
            train_dataset=rows(PAIRS),
            eval_dataset=rows(PAIRS),
            processing_class=tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    evaluations = [
        (entry["step"], entry["eval_reward/correct/of"])
        for entry in trainer.state.log_history
        if "eval_reward/correct/of" in entry
    ]
    return {
        "cold": cold,
        "before": before,
        "after": accuracy(model, tokenizer),
        "evaluations": evaluations,
        "kept": state == str(reward.state_dict()),
    }


def config(folder: str, seed: int, steps: int) -> GRPOConfig:
    return GRPOConfig(
        output_dir=folder,
        seed=seed,
        max_steps=steps,
        per_device_train_batch_size=64,
        num_generations=8,
        max_completion_length=6,
        learning_rate=5e-4,
        lr_scheduler_type="constant",
        beta=0.0,
        eval_strategy="steps",
        eval_steps=steps // 3,
        per_device_eval_batch_size=220,
        num_generations_eval=4,
        logging_steps=steps // 3,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="GRPO on sums of two digits")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one run for each")
    parser.add_argument("--steps", type=int, default=600, help="GRPO updates of 64 answers")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed in given.seed:
        found = train(seed, given.steps)
        print(
            f"seed {seed}: accuracy {found['cold']:.3f} untrained, {found['before']:.3f} after the "
            f"warm start, {found['after']:.3f} after GRPO"
        )
        for step, value in found["evaluations"]:
            print(f"  evaluated at step {step}: {value:.3f} correct")
        print(f"  the run left the reward's state as it was: {found['kept']}")


# Rows are scored in processes, which import this file.
if __name__ == "__main__":
    main()

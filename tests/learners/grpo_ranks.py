"""Two processes that train together; run by test_grpo_ranks, one per rank."""

import json
import os
import sys
import warnings
from pathlib import Path


def answers_of(prompt_ids: list[list[int]], round_of: dict) -> list[list[int]]:
    """Answers that hang on the prompt and on which of its group they are, and on no generator."""
    made = []
    for ids in prompt_ids:
        nth = round_of[tuple(ids)] = round_of.get(tuple(ids), -1) + 1
        made.append([2 + (sum(ids) * (nth + 3) + i * 7) % 14 for i in range(1 + nth % 4)] + [1])
    return made


def main(rank: int, world: int, port: int, out: Path, kind: str) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }
    warnings.simplefilter("ignore")
    import torch
    from tests.learners.grpo_trainers import digits, trainer, weights

    import rewardsmith as rs
    from rewardsmith.core.scores import Scores
    from rewardsmith.policy.estimator import estimator
    from rewardsmith.policy.objective import objective
    from rewardsmith.samplers import Shuffled

    class Odd(Shuffled):
        rounds = 9

        def select(self, rollouts, scores: Scores):
            return torch.tensor([i % 2 == 1 for i in rollouts["prompt_id"]])

    class Shared(rs.Reward):
        """Compares the rows of a batch, and may differ by chance: the first rank decides."""

        def __init__(self):
            super().__init__()
            self.declare(needs=("completion",), scope="batch")

        def forward(self, rollouts):
            values = [digits.call(c) for c in rollouts["completion"]]
            noise = torch.rand(len(values)) if kind == "noisy" else torch.zeros(len(values))
            return Scores.outcome(torch.tensor(values) + noise)

    class Learning(Shared):
        """Counts the rows that it has learned from, and pays for them."""

        def __init__(self):
            super().__init__()
            self.register_buffer("rows", torch.zeros(()))

        def forward(self, rollouts):
            scores = super().forward(rollouts)
            return Scores.outcome(scores.values + self.rows)

        def update(self, rollouts, scores):
            self.rows += len(rollouts)
            return {"rows": float(self.rows)}

    reward = Learning() if kind == "learns" else Shared()
    reward = digits if kind in ("plain", "odd", "filled") else reward
    sampler = Odd() if kind in ("odd", "filled") else Shuffled()
    # One group of three cannot be cut for two ranks: another one only fills the round.
    rows, size = (12, 3) if kind == "filled" else (24, 4)
    made = trainer(
        out / kind / str(rank),
        reward,
        advantage=estimator("grpo"),
        loss=objective("dapo"),
        sampler=sampler,
        per_device_train_batch_size=rows // world,
        num_generations=size,
        gradient_accumulation_steps=2,
        max_steps=2,
        optim="sgd",
        learning_rate=0.5,
    )
    seen = []
    inner = made._finished

    def finished(batch):
        output = inner(batch)
        decode = made.processing_class.batch_decode
        texts = decode(
            output["completion_ids"] * output["completion_mask"], skip_special_tokens=True
        )
        prompts = decode(output["prompt_ids"] * output["prompt_mask"], skip_special_tokens=True)
        seen.append(
            {
                "prompts": prompts,
                "texts": texts,
                "advantages": output["advantages"].tolist(),
                "whole": [list(batch.rollouts["prompt"]), list(batch.rollouts["completion"])],
                "rewards": batch.scores.total().tolist(),
                "group": batch.rollouts.group.tolist(),
                "tokens": int(output["num_items_in_batch"]),
                "own_tokens": int(output["completion_mask"].sum()),
            }
        )
        return output

    made._finished = finished
    if kind == "fixed":
        # The groups of this rank begin where those of the ranks before it end.
        round_of: dict = {}
        made._generate_single_turn = lambda ids, *_, **__: (answers_of(ids, round_of), None)
    made.train()
    state = made.sampler.get_extra_state()
    told = {
        "seen": seen,
        "weights": weights(made.model).tolist(),
        "taken": state["common"]["taken"],
        "tokens": made.generated_tokens,
        "state": {name: value.tolist() for name, value in made.reward.state_dict().items()},
    }
    (out / f"{kind}-{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])

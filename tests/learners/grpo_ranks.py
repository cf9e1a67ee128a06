"""Two processes that train together; run by test_grpo_ranks, one per rank."""

import json
import os
import sys
import warnings
from pathlib import Path


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

    from rewardsmith.core.scores import Scores
    from rewardsmith.policy.estimator import estimator
    from rewardsmith.policy.objective import objective
    from rewardsmith.samplers import Shuffled

    class Odd(Shuffled):
        rounds = 9

        def select(self, rollouts, scores: Scores):
            return torch.tensor([i % 2 == 1 for i in rollouts["prompt_id"]])

    sampler = {"plain": Shuffled, "odd": Odd}[kind]()
    made = trainer(
        out / kind / str(rank),
        digits,
        advantage=estimator("grpo"),
        loss=objective("dapo"),
        sampler=sampler,
        per_device_train_batch_size=12,
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
    made.train()
    state = made.sampler.get_extra_state()
    told = {
        "seen": seen,
        "weights": weights(made.model).tolist(),
        "taken": state["common"]["taken"],
        "tokens": made.generated_tokens,
    }
    (out / f"{kind}-{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])

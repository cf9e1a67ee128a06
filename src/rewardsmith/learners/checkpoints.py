"""What TRL's checkpoint does not hold: the reward, the estimator, the sampler, a batch begun."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..core.bases import Estimator
from ..core.errors import SpecError
from ..core.fingerprint import fingerprint
from ..core.node import Node
from ..core.warn import warn_caller
from .descending import Descending

STATE = "rewardsmith_{rank}.pt"
"""What is saved in a checkpoint, one file for each process."""


class Checkpointing(Descending):
    """A trainer whose checkpoints hold its own parts, and which goes on where it was."""

    advantage: Estimator

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        # First: what follows may delete the checkpoint before, and send this one to the hub.
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.own_state(), folder / STATE.format(rank=self.accelerator.process_index))
        self.accelerator.wait_for_everyone()
        super()._save_checkpoint(model, trial)

    def own_state(self) -> dict[str, Any]:
        """What TRL's checkpoint does not hold, of this process."""
        every = self.args.steps_per_generation * self.num_iterations
        begun = self._step % every != 0
        return {
            "parts": {name: part.state_dict() for name, part in self._parts().items()},
            "kinds": self._kinds(),
            "written": self._written(),
            "step": self._step,
            "generated_tokens": self.generated_tokens,
            "buffered": self._buffered_inputs if begun else None,
            "layout": self._layout(),
        }

    def _layout(self) -> dict[str, int]:
        """What a batch that is kept is cut by."""
        return {
            "processes": self.accelerator.num_processes,
            "steps_per_generation": self.args.steps_per_generation,
            "gradient_accumulation_steps": self.args.gradient_accumulation_steps,
            "num_iterations": self.num_iterations,
            "per_device_train_batch_size": self.args.per_device_train_batch_size,
            "num_generations": self.num_generations,
        }

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """What :meth:`own_state` gave.

        Raises:
            ValueError: it is of other parts than this trainer has.

        Warns:
            UserWarning: they are written in another way, or batches are cut in another way.
        """
        for name, kind in {**dict.fromkeys(state["kinds"]), **self._kinds()}.items():
            saved = state["kinds"].get(name, "none")
            if saved != (kind or "none"):
                raise ValueError(
                    f"the checkpoint was saved with the {name} {saved}, and this trainer has "
                    f"{kind or 'none'}: give the same one, or begin a new run from the weights"
                )
        for name, written in self._written().items():
            if state["written"][name] != written:
                warn_caller(
                    f"the {name} is not written as it was when the checkpoint was saved: another "
                    "function, option or part. The run goes on with the state of then and the "
                    f"{name} of now"
                )
        for name, part in self._parts().items():
            part.load_state_dict(state["parts"][name])
        self.generated_tokens = state["generated_tokens"]
        if state["layout"] == self._layout():
            self._step, self._buffered_inputs = state["step"], state["buffered"]
        elif state["buffered"] is not None:
            warn_caller(
                f"the checkpoint has a batch that was cut by {state['layout']}, and here it would "
                f"be by {self._layout()}: what is left of it is not trained on"
            )

    def _kinds(self) -> dict[str, str]:
        """What each part is, its children included."""
        return {
            name: " of ".join(dict.fromkeys(node.default_name() for _, node in part.walk()))
            for name, part in self._parts().items()
        }

    def _written(self) -> dict[str, str]:
        """What changes where an option or a function of a part does."""
        return {name: _as_written(part) for name, part in self._parts().items()}

    def _parts(self) -> dict[str, Any]:
        parts = {
            "reward": self.reward,
            "advantage": self.advantage,
            "sampler": self.sampler,
            "relabel": self.relabel,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        folder = Path(checkpoint)
        own = folder / STATE.format(rank=self.accelerator.process_index)
        file = own if own.exists() else folder / STATE.format(rank=0)
        if not file.exists():
            raise ValueError(
                f"{checkpoint} was not saved by this trainer: it has no {file.name}, and the "
                "reward and the sampler could only begin anew"
            )
        # It holds this trainer's own plain data, as TRL's own training_args.bin does.
        self.load_own_state(
            torch.load(file, map_location=self.accelerator.device, weights_only=False)
        )


def _as_written(part: Node) -> str:
    try:
        return fingerprint(part)
    except SpecError:
        # Something that no spec could hold.
        return " of ".join(node.label() for _, node in part.walk())

"""TRL's trainer with a loss of ours: what it is given, and what it is divided by."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..core.advantages import Advantages
from ..policy.kl import kl_loss
from ..policy.losses.aggregation import Aggregation
from ..policy.objective import Objective
from .generating import Generating
from .generations import fitted, trained

_OF_IMAGES = (
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)
"""What TRL's batches may hold for the model beside tokens."""


class Descending(Generating):
    """How a batch becomes gradients; :class:`~.grpo.GRPOTrainer` makes the batch.

    Args:
        loss: ours, or None for TRL's own.
        given: of :class:`~.generating.Generating`.
    """

    def __init__(self, *, loss: Objective | None, **given: Any) -> None:
        self.loss = loss
        super().__init__(**given)

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        inputs: dict[str, Any] = super()._prepare_inputs(generation_batch)
        if self.loss is not None and self.model.training:
            inputs = inputs | {"aggregation": self._aggregation(self.loss)}
        return inputs

    def _aggregation(self, loss: Objective) -> Aggregation:
        """The denominators of the optimizer's step that the next micro-batch is a part of."""
        held = self._buffered_inputs
        # Checked before: one is a multiple of the other.
        together = min(len(held), self.current_gradient_accumulation_steps)
        begin = self._step % self.args.steps_per_generation // together * together
        mask = torch.cat(
            [
                fitted(trained(b), held[0]["completion_mask"].shape[1])
                for b in held[begin : begin + together]
            ]
        )
        length = loss.length or self.max_completion_length
        length = length if loss.mode.endswith("-norm") else None
        made = Aggregation.of_batch(loss.mode, mask.bool(), length=length, ranks=self.ranks)
        # An optimizer's step over several generations takes the mean of their losses.
        share = self.current_gradient_accumulation_steps // together
        if share == 1:
            return made
        return replace(
            made,
            tokens=made.tokens and made.tokens * share,
            sequences=made.sequences and made.sequences * share,
        )

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        if self.loss is None or not self.model.training:
            return super()._compute_loss(model, inputs)  # type: ignore[no-any-return]
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        seen = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        logprob, entropy, auxiliary = self._get_per_token_logps_and_entropies(
            model,
            ids,
            seen,
            inputs["completion_ids"].shape[1],
            compute_entropy=True,
            compute_aux_loss=self.aux_loss_enabled,
            **{name: inputs[name] for name in _OF_IMAGES if name in inputs},
        )
        advantages = Advantages(
            inputs["advantages"], inputs["keep"].bool(), inputs.get("advantage_weight")
        )
        mask = trained(inputs).bool()
        old = inputs.get("old_per_token_logps")
        given = {name: inputs[name] for name in self.loss.inputs if name in inputs} | {
            "logprob": logprob,
            "old_logprob": logprob.detach() if old is None else old,
            "advantage": advantages,
            "mask": mask,
            "entropy": entropy.detach(),
        }
        how = inputs["aggregation"]
        weight = inputs.get("importance_sampling_ratio")
        made = self.loss(given, how, weight)
        loss = made.loss
        told = {f"loss/{name}": value for name, value in made.metrics.items()}
        told["entropy"] = torch.where(mask, entropy.detach(), 0.0).sum() / mask.sum().clamp(min=1)
        if self.beta != 0.0:
            # TRL's: k3 with its own gradient.
            divergence = kl_loss(
                logprob,
                inputs["ref_per_token_logps"],
                advantages.masked(mask),
                straight_through=False,
                old_logprob=given["old_logprob"] if self.args.use_bias_correction_kl else None,
                aggregation=how,
            )
            loss = loss + self.beta * divergence.loss
            told["kl"] = divergence.metrics["ref_kl"]
        if self.aux_loss_enabled:
            share = self.current_gradient_accumulation_steps
            loss = loss + self.router_aux_loss_coef * auxiliary / share
        for name, value in told.items():
            mean = self.accelerator.gather(value.detach().float()).mean()
            self._metrics["train"][name].append(mean.item())
        return loss

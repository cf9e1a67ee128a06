"""A language model's logits token by token, for rows that come and go."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class Decoder:
    """Logits of the next token of each row, with what the model keeps of the earlier ones."""

    def __init__(
        self, model: Any, prompt_ids: Sequence[Sequence[int]], pad_id: int, device: torch.device
    ) -> None:
        longest = max(map(len, prompt_ids))
        padded = [[pad_id] * (longest - len(ids)) + [*ids] for ids in prompt_ids]
        real = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompt_ids]
        self.model, self.device = model, device
        self.ids = torch.tensor(padded, device=device)
        self.mask = torch.tensor(real, device=device)
        self.length = self.mask.sum(1)
        self.cache: Any = None

    def start(self) -> Float[Tensor, "p v"]:
        """After each prompt."""
        return self._call(self.ids, (self.mask.cumsum(1) - 1).clamp(min=0))

    def advance(self, rows: list[int], tokens: list[int]) -> Float[Tensor, "r v"]:
        """After each of ``rows`` of the last call, which may repeat, and the token behind it."""
        if rows != list(range(len(self.mask))):
            index = torch.tensor(rows, device=self.device)
            self.cache.reorder_cache(index)
            self.mask, self.length = self.mask[index], self.length[index]
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(rows), 1)], dim=1)
        self.length = self.length + 1
        ids = torch.tensor(tokens, device=self.device)
        return self._call(ids[:, None], self.length[:, None] - 1)

    def _call(self, ids: Tensor, positions: Tensor) -> Float[Tensor, "r v"]:
        told = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache = told.past_key_values
        last: Tensor = told.logits[:, -1]
        return last.float()

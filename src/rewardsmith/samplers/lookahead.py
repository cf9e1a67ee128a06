"""Rollouts from a tree that branches where the model hesitates: LATR."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..core.catalog import Paper, method
from .around import Around
from .decoder import Decoder
from .prompts import PromptSampler
from .tree import Branch, Branching, Group, grow, over, prune, sample

_SHARES = {0: 1.0, 10: 0.75, 20: 0.5, 80: 0.25, 200: 0.0}


@torch.no_grad()
def lookahead_rollouts(
    model: Any,
    prompt_ids: Sequence[Sequence[int]],
    *,
    group_size: int,
    max_new_tokens: int,
    eos_ids: Sequence[int],
    pad_id: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    share: float = 1.0,
    branching: Branching | None = None,
) -> list[list[Branch]]:
    """For each prompt a tree of ``round(share G)`` answers, and ordinary samples for the rest of G.

    A tree begins with one row. At each token, of p the untempered probabilities, in descending
    order, of a row of the tree:

    - it goes on with its likeliest token, and for each j in 2 .. m with ``p_j > min_probability``
      and ``p_1 - p_j < max_gap`` a child is born that goes on with the j-th. There is room for
      ``round(share G)`` branches, ended ones included: second candidates come before third ones,
      and older rows before younger ones.
    - r tokens after its birth, a child is pruned, and all that descends from it, if
      ``edit_distance(child[-r:], parent[-r:]) / r < distance``. It stays if either has ended.

    A tree ends once it has ``round(n (0.98 - decay t / max_new_tokens))`` of its n branches and all
    of them have had their last lookahead; or all have ended; or t is ``until``. Then copies of its
    root fill it up, and what has not ended goes on as ordinary sampling. Copies of a root that has
    ended are equal to it.

    **What the tree gives are no samples of the model**: its rows are greedy apart from where they
    branch, a branch is there or not whatever its probability, and pruning looks at what came
    later. A mean over them estimates no expectation under the model. Log-probabilities, and ratios
    of them, are to be the model's own of these tokens.

    The decision when a tree ends is made for each prompt; the authors' code makes it for the whole
    batch. That code takes ``p_1 - p_j > max_gap`` in what we read of it, though its own scheduler
    lowers the bound to branch less; here a candidate has to be near the likeliest (our reading).

    Args:
        model: a causal language model as transformers has them: called with ``input_ids``,
            ``attention_mask``, ``position_ids``, ``past_key_values`` and ``use_cache``, it returns
            ``logits`` [R, L, V] and ``past_key_values``, whose rows ``reorder_cache`` selects.
        prompt_ids: the tokens of each prompt, once.
        group_size: G, how many answers each gets.
        max_new_tokens: how long an answer may be, in tokens.
        eos_ids: tokens that end an answer and belong to it.
        pad_id: the token to pad prompts with, on the left.
        generator: of the ordinary samples; it lies on the model's device.
        temperature: of the ordinary samples, above 0.
        share: the share of a group that comes of its tree, eta; 0 is ordinary sampling.
        branching: how trees grow; None for the defaults of :class:`Branching`.

    Returns:
        For each prompt G branches: those of the tree, its root first, then ordinary samples.

    Raises:
        ValueError: a number is out of range, a prompt has no token, or a lookahead is longer than
            an answer.

    Source: Xing et al. 2025 (2510.24302), and the authors' ``model/generation.py``.
    """
    branching = branching or Branching()
    _check(prompt_ids, group_size, max_new_tokens, temperature, share, branching)
    decoder = Decoder(model, prompt_ids, pad_id, generator.device)
    n = round(share * group_size)
    groups = [Group(slot, n, group_size - n) for slot in range(len(prompt_ids))]
    ends = frozenset(eos_ids)
    logits = decoder.start()
    for step in range(max_new_tokens):
        sample([row for g in groups for row in g.sampled()], logits, temperature, generator)
        grow([g for g in groups if g.growing], logits, step, branching)
        for group in groups:
            for row in group.rows():
                row.ended = row.ended or row.tokens[-1] in ends
            if group.growing:
                prune(group, step + 1, branching)
                if over(group, step + 1, max_new_tokens, branching):
                    group.close()
        live = [row for g in groups for row in g.rows() if not row.ended]
        if not live or step + 1 == max_new_tokens:
            break
        logits = decoder.advance([row.slot for row in live], [row.tokens[-1] for row in live])
        for slot, row in enumerate(live):
            row.slot = slot
    return [group.branches() for group in groups]


@method(
    "latr",
    kind="sampler",
    seed=135,
    paper=Paper(
        "2510.24302",
        "Lookahead Tree-Based Rollouts for Enhanced Trajectory-Level Exploration in Reinforcement "
        "Learning with Verifiable Rewards",
        2025,
    ),
)
class Lookahead(Around):
    """Generates groups as trees which branch where the model hesitates; prompts are another's.

    Answers that differ early and stay different make more groups with both right and wrong ones.
    The price is bias: **rows of a tree are not samples of the policy**, so that a policy gradient
    taken over them is not the gradient of the expected reward (see :func:`lookahead_rollouts`).
    Published training takes them as if they were. The shares end at 0, where nothing is left of
    the bias. Importance ratios need the policy's own log-probabilities of the tokens, as the
    trainer computes them.

    Args:
        of: says which prompts; None for all in turn.
        shares: batch -> the share of each group that comes of a tree from this batch on, in order.
        candidates, min_probability, max_gap, distance, lookahead, decay, until: see
            :class:`Branching`.

    Raises:
        ValueError: an argument is out of range, or shares do not begin with batch 0 and rise.

    Source: Xing et al. 2025; defaults of the authors' ``scripts/dapo-kt-countdown.sh``, in which
    ``until`` is half of the longest answer.
    """

    generates = True

    def __init__(
        self,
        of: PromptSampler | None = None,
        shares: Mapping[int, float] = _SHARES,
        candidates: int = 2,
        min_probability: float = 0.25,
        max_gap: float = 0.15,
        distance: float = 0.4,
        lookahead: Sequence[int] = (20, 30, 50),
        decay: float = 0.05,
        until: int | None = None,
    ) -> None:
        super().__init__(of)
        starts = list(shares)
        if not starts or starts[0] != 0 or starts != sorted(starts):
            raise ValueError(
                f"latr: shares are {dict(shares)}; batch 0 comes first, later batches in order"
            )
        if not all(0.0 <= share <= 1.0 for share in shares.values()):
            raise ValueError(f"latr: shares are {dict(shares)}, each must lie in [0, 1]")
        self.shares, self.lookahead = dict(shares), tuple(lookahead)
        self.candidates, self.min_probability, self.max_gap = candidates, min_probability, max_gap
        self.distance, self.decay, self.until = distance, decay, until
        self.branching = Branching(
            candidates, min_probability, max_gap, distance, self.lookahead, decay, until
        )

    @property
    def share(self) -> float:
        """The share of this batch."""
        batch = max(self.batches - 1, 0)
        return [share for start, share in self.shares.items() if start <= batch][-1]

    def generate(
        self,
        model: Any,
        prompt_ids: list[list[int]],
        *,
        group_size: int,
        max_new_tokens: int,
        eos_ids: list[int],
        pad_id: int,
        temperature: float,
        seed: int,
    ) -> list[list[int]]:
        """The answers of a training batch, in the order of its prompts.

        Args:
            model: see :func:`lookahead_rollouts`; it names its ``device``, or is on the host.
            prompt_ids: each prompt ``group_size`` times in a row.
            group_size: G.
            max_new_tokens: how long an answer may be, in tokens.
            eos_ids: tokens that end an answer.
            pad_id: the token to pad prompts with.
            temperature: of the ordinary samples.
            seed: of the ordinary samples.

        Returns:
            Tokens of each row, with the one that ended it, without padding.

        Raises:
            ValueError: prompts do not come in groups; and as :func:`lookahead_rollouts`.
        """
        starts = range(0, len(prompt_ids), max(group_size, 1))
        for i in starts:
            if prompt_ids[i : i + group_size] != [prompt_ids[i]] * group_size:
                raise ValueError(
                    f"latr: rows {i} to {i + group_size - 1} are not one prompt; each prompt has "
                    f"to come {group_size} times in a row"
                )
        generator = torch.Generator(getattr(model, "device", "cpu")).manual_seed(seed)
        groups = lookahead_rollouts(
            model,
            [prompt_ids[i] for i in starts],
            group_size=group_size,
            max_new_tokens=max_new_tokens,
            eos_ids=eos_ids,
            pad_id=pad_id,
            generator=generator,
            temperature=temperature,
            share=self.share,
            branching=self.branching,
        )
        return [branch.tokens for group in groups for branch in group]


def _check(
    prompt_ids: Sequence[Sequence[int]],
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    share: float,
    branching: Branching,
) -> None:
    if not prompt_ids:
        raise ValueError("latr: there are no prompts")
    for i, ids in enumerate(prompt_ids):
        if not ids:
            raise ValueError(f"latr: prompt {i} has no token")
    if group_size < 1 or max_new_tokens < 1:
        raise ValueError(
            f"latr: group_size is {group_size} and max_new_tokens {max_new_tokens}, both must be "
            "at least 1"
        )
    if not temperature > 0.0:
        raise ValueError(f"latr: temperature is {temperature}, it must be above 0")
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"latr: share is {share}, it must lie in [0, 1]")
    if share > 0.0 and max(branching.lookahead) > max_new_tokens:
        raise ValueError(
            f"latr: a lookahead of {max(branching.lookahead)} tokens is longer than an answer of "
            f"{max_new_tokens}: give a shorter lookahead, about a twentieth of an answer"
        )

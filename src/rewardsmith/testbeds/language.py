"""A language model of which every answer can be listed: a softmax for each prefix.

An estimator of a gradient, of a KL or of pass@k is checked here against the truth. Nothing is
sampled but by :meth:`EnumerableLM.sample`; everything else is a sum over all answers, in float64,
and differentiable.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor, nn

END = 0
"""The token that ends an answer."""
_MOST = 1_000_000


class Sample(NamedTuple):
    """Answers of a model, those of one prompt beside each other."""

    prompt: Int64[Tensor, " n"]
    """The group that a row is in, too."""
    answer: Int64[Tensor, " n"]
    """Its number in the model's tables, such as a reward table [P, A]."""
    tokens: Int64[Tensor, "n t"]
    mask: Bool[Tensor, "n t"]
    logprob: Float64[Tensor, "n t"]
    """Of each token, detached: that of the policy that sampled. 0 behind the end."""


class EnumerableLM(nn.Module):
    """An autoregressive table of logits: P prompts, V tokens, answers of at most T tokens.

    An answer is a row of tokens up to the first 0, which ends it and belongs to it, or T tokens
    without one. There are A = sum_{t <= T} (V - 1)^t of them, and one prefix for each that is
    shorter than T without its end.

    Prefixes are the nodes of a tree, counted level by level: the root is 0, token a leads from j
    to ``j (V - 1) + a``. An answer has the number of the node where it stops, so prefixes and
    answers share their numbers.

    Args:
        logits: [P, J, V] of the next token after each prefix. A copy is the parameter ``logits``.
        longest: T, the most tokens of an answer, the end included.

    Raises:
        ValueError: a shape that does not fit V and T, logits that are not finite, or more than a
            million answers.
    """

    tokens: Int64[Tensor, "a t"]
    """All answers, padded with 0."""
    mask: Bool[Tensor, "a t"]
    """Which tokens an answer has."""
    prefix: Int64[Tensor, "a t"]
    """The prefix that each of its tokens stands after; 0 where it has none."""

    def __init__(self, logits: Float64[Tensor, "p j v"], longest: int) -> None:
        super().__init__()
        if logits.ndim != 3 or logits.shape[0] < 1 or logits.shape[2] < 2 or longest < 1:
            raise ValueError(
                f"EnumerableLM: logits have the shape {[*logits.shape]} and answers at most "
                f"{longest} tokens; [prompts, prefixes, 2 tokens or more] and 1 are needed"
            )
        vocabulary = logits.shape[2]
        _check_count(vocabulary, longest)
        prefixes = nodes(vocabulary, longest - 1)
        if logits.shape[1] != prefixes:
            raise ValueError(
                f"EnumerableLM: logits are of {logits.shape[1]} prefixes; {vocabulary} tokens and "
                f"answers of at most {longest} have {prefixes}"
            )
        if not bool(logits.isfinite().all()):
            raise ValueError("EnumerableLM: logits have to be finite")
        self.longest = longest
        self.logits = nn.Parameter(logits.detach().to(torch.float64, copy=True))
        for name, table in zip(
            ("tokens", "mask", "prefix"), _answers(vocabulary, longest), strict=True
        ):
            self.register_buffer(name, table.to(logits.device))

    @classmethod
    def random(
        cls, prompts: int, vocabulary: int, longest: int, *, spread: float = 1.0, seed: int = 0
    ) -> "EnumerableLM":
        """Logits drawn from a normal distribution with the standard deviation ``spread``."""
        _check_count(vocabulary, longest)
        shape = (prompts, nodes(vocabulary, longest - 1), vocabulary)
        noise = torch.randn(
            shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
        )
        return cls(spread * noise, longest)

    @property
    def prompts(self) -> int:
        """P."""
        return self.logits.shape[0]

    @property
    def lengths(self) -> Int64[Tensor, " a"]:
        """How many tokens each answer has, its end included."""
        return self.mask.sum(dim=1)

    # --- tables -----------------------------------------------------------------------------------

    def logprob(self) -> Float64[Tensor, "p a t"]:
        """``log pi(token | prompt, prefix)`` of every token of every answer; 0 behind the end.

        ``logprob()[prompt, answer]`` [N, T] is that of sampled rows.
        """
        after = self.logits.log_softmax(dim=-1)
        return torch.where(self.mask, after[:, self.prefix, self.tokens], 0.0)

    def probability(self) -> Float64[Tensor, "p a"]:
        """``pi(answer | prompt)``: each prompt's sum to 1."""
        return self.logprob().sum(dim=-1).exp()

    def number(self, tokens: Int64[Tensor, "n t"]) -> Int64[Tensor, " n"]:
        """The number of the answer that each row begins with; what follows its end is not read.

        Raises:
            ValueError: a token that the vocabulary does not have, or a row that stops before its
                end and before T tokens.
        """
        at = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device)
        running = torch.ones_like(at, dtype=torch.bool)
        for column in tokens[:, : self.longest].T:
            if bool((running & ((column < 0) | (column >= self.logits.shape[2]))).any()):
                raise ValueError(f"number: tokens are 0 to {self.logits.shape[2] - 1}")
            running = running & (column != END)
            at = torch.where(running, at * (self.logits.shape[2] - 1) + column, at)
        if tokens.shape[1] < self.longest and bool(running.any()):
            raise ValueError(
                f"number: row {int(running.nonzero()[0])} has {tokens.shape[1]} tokens and no end "
                f"({END}); only answers of {self.longest} tokens have none"
            )
        return at

    def draw_rewards(
        self, generator: torch.Generator, *, length: float = 0.5
    ) -> Float64[Tensor, "p a"]:
        """A reward table: normal noise that correlates with the number of tokens.

        ``R = sqrt(1 - length^2) noise + length z``, with z the standardized length of the answer,
        so that over all answers R has about the mean 0, the variance 1 and that correlation.

        Args:
            generator: of the noise.
            length: the correlation, from -1 to 1.

        Raises:
            ValueError: there is no such correlation.
        """
        if not -1.0 <= length <= 1.0:
            raise ValueError(f"draw_rewards: length is {length}, a correlation from -1 to 1")
        shape = (self.prompts, len(self.tokens))
        noise = torch.randn(shape, dtype=torch.float64, generator=generator)
        long = self.lengths.to(torch.float64)
        z = (long - long.mean()) / long.std(correction=0).clamp(min=1e-12)
        return math.sqrt(1.0 - length**2) * noise.to(z.device) + length * z

    # --- the truth --------------------------------------------------------------------------------

    def objective(self, rewards: Float64[Tensor, "p a"]) -> Float64[Tensor, ""]:
        """``J = mean_p sum_a pi(a | p) R(p, a)``: the expected reward of one answer."""
        self._check_table("objective", rewards)
        return (self.probability() * rewards).sum(dim=1).mean()

    def kl(self, other: "EnumerableLM") -> Float64[Tensor, ""]:
        """``KL(self || other)`` of whole answers, the mean over prompts.

        Gradients flow to both. By the chain rule it is the expected sum over tokens of the KL of
        the next token.

        Raises:
            ValueError: they differ in prompts, tokens or the longest answer.
        """
        if self.logits.shape != other.logits.shape:
            raise ValueError(
                f"kl: logits have the shapes {[*self.logits.shape]} and {[*other.logits.shape]}; "
                "the divergence is of models with the same prompts and answers"
            )
        own, its = self.logprob().sum(dim=-1), other.logprob().sum(dim=-1)
        return (own.exp() * (own - its)).sum(dim=1).mean()

    def entropy(self) -> Float64[Tensor, ""]:
        """``-sum_a pi log pi`` of whole answers in nats, the mean over prompts."""
        own = self.logprob().sum(dim=-1)
        return -(own.exp() * own).sum(dim=1).mean()

    def gradient(self, of: Float64[Tensor, ""]) -> Float64[Tensor, "p j v"]:
        """Of a number that was computed with this model, by its logits.

        Several numbers may come from one table: what led to it is kept.
        """
        return torch.autograd.grad(of, self.logits, retain_graph=True)[0]

    def partition(
        self, rewards: Float64[Tensor, "p a"], beta: float
    ) -> tuple[Float64[Tensor, " p"], Float64[Tensor, "p a"]]:
        """Where ``E[R] - beta KL(. || self)`` is greatest, this model being the reference.

        Returns:
            ``log Z(p) = log sum_a pi(a | p) exp(R / beta)``, of which beta times is that greatest
            value; and the distribution that has it, ``pi exp(R / beta) / Z`` [P, A].

        Raises:
            ValueError: beta is not positive, or rewards are not [P, A].
        """
        if not beta > 0.0:
            raise ValueError(f"partition: beta is {beta}, it must be positive")
        self._check_table("partition", rewards)
        tilted = self.logprob().sum(dim=-1) + rewards / beta
        log_partition = tilted.logsumexp(dim=1)
        return log_partition, (tilted - log_partition[:, None]).exp()

    def pass_at_k(self, right: Bool[Tensor, "p a"], k: int) -> Float64[Tensor, ""]:
        """``mean_p 1 - (1 - pi(right | p))^k``: that one of k answers is right.

        Raises:
            ValueError: k is below 1, or ``right`` is not [P, A].
        """
        if k < 1:
            raise ValueError(f"pass_at_k: k is {k}, it must be at least 1")
        self._check_table("pass_at_k", right)
        # From the right ones, so that none is 0 and not a rounding error below it.
        wrong = (1.0 - (self.probability() * right).sum(dim=1)).clamp(min=0.0)
        return (1.0 - wrong**k).mean()

    def _check_table(self, what: str, table: Tensor) -> None:
        wanted = [self.prompts, len(self.tokens)]
        if [*table.shape] != wanted:
            raise ValueError(
                f"{what}: the table has the shape {[*table.shape]}, the model's prompts and "
                f"answers are {wanted}"
            )

    # --- acting -----------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Sample:
        """Draw n answers of each prompt, independent of each other."""
        table = self.logprob()
        drawn = table.sum(dim=-1).exp().multinomial(n, replacement=True, generator=generator)
        answer = drawn.reshape(-1)
        prompt = torch.arange(self.prompts, device=answer.device).repeat_interleave(n)
        return Sample(prompt, answer, self.tokens[answer], self.mask[answer], table[prompt, answer])

    @torch.no_grad()
    def greedy(self) -> Int64[Tensor, " p"]:
        """The answer of each prompt that takes the likeliest token each time."""
        likeliest = self.logits.argmax(dim=-1)
        row = torch.arange(self.prompts, device=likeliest.device)
        at, running = torch.zeros_like(row), torch.ones_like(row, dtype=torch.bool)
        for _ in range(self.longest):
            token = likeliest[row, torch.where(running, at, 0)]
            running = running & (token != END)
            at = torch.where(running, at * (self.logits.shape[2] - 1) + token, at)
        return at


def _check_count(vocabulary: int, longest: int) -> None:
    answers = nodes(vocabulary, longest)
    if answers > _MOST:
        raise ValueError(f"EnumerableLM: {answers} answers are too many to list")


def nodes(vocabulary: int, depth: int) -> int:
    """``sum_{t <= depth} (vocabulary - 1)^t``: answers of at most ``depth`` tokens before the end.

    With the most tokens of an answer it counts answers, with one less, prefixes.
    """
    return sum((vocabulary - 1) ** t for t in range(depth + 1))


def _answers(vocabulary: int, longest: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, mask and prefix of every answer, each [A, T]."""
    branches = vocabulary - 1
    count = nodes(vocabulary, longest)
    tokens = torch.full((count, longest), END)
    mask = torch.zeros((count, longest), dtype=torch.bool)
    prefix = torch.zeros((count, longest), dtype=torch.int64)
    for depth in range(longest + 1):
        first, last = nodes(vocabulary, depth - 1), nodes(vocabulary, depth)
        at = torch.arange(first, last)
        mask[first:last, : depth + 1] = True
        if depth < longest:  # The end, which the longest have no room for.
            prefix[first:last, depth] = at
        for t in reversed(range(depth)):
            tokens[first:last, t] = (at - 1) % branches + 1
            at = (at - 1) // branches
            prefix[first:last, t] = at
    return tokens, mask, prefix

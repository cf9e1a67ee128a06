"""Raw rewards: from the environment, from novelty, from text."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "BoxIoU": "boxes",
    "Choice": "choice",
    "Compiles": "code_quality",
    "CountBonus": "count",
    "Coverage": "code_quality",
    "EnvReward": "env_reward",
    "EvidenceOverlap": "screening",
    "FactoredState": "factored_state",
    "GuiAction": "gui_action",
    "IntervalOverlap": "relaxed_match",
    "JsonFormat": "json_format",
    "KeywordF1": "relaxed_match",
    "Keywords": "pattern",
    "Length": "length",
    "Lint": "code_quality",
    "MathAnswer": "math_answer",
    "Milestones": "milestones",
    "NumericAnswer": "numeric",
    "Overlong": "length",
    "Pattern": "pattern",
    "RelaxedMatch": "relaxed_match",
    "Repetition": "repetition",
    "Screening": "screening",
    "SelfCheck": "self_check",
    "SemanticSimilarity": "semantic",
    "TagFormat": "tag_format",
    "TokenSimilarity": "token_similarity",
    "ToolCalls": "tool_calls",
    "TurnForm": "gui_action",
    "UnitTests": "unit_tests",
    "VeRPO": "verpo",
    "screening_sum": "screening",
}

if TYPE_CHECKING:
    from .boxes import BoxIoU
    from .choice import Choice
    from .code_quality import Compiles, Coverage, Lint
    from .count import CountBonus
    from .env_reward import EnvReward
    from .factored_state import FactoredState
    from .gui_action import GuiAction, TurnForm
    from .json_format import JsonFormat
    from .length import Length, Overlong
    from .math_answer import MathAnswer
    from .milestones import Milestones
    from .numeric import NumericAnswer
    from .pattern import Keywords, Pattern
    from .relaxed_match import IntervalOverlap, KeywordF1, RelaxedMatch
    from .repetition import Repetition
    from .screening import EvidenceOverlap, Screening, screening_sum
    from .self_check import SelfCheck
    from .semantic import SemanticSimilarity
    from .tag_format import TagFormat
    from .token_similarity import TokenSimilarity
    from .tool_calls import ToolCalls
    from .unit_tests import UnitTests
    from .verpo import VeRPO


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

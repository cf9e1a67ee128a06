"""Our reward as a server that OpenRLHF posts its queries to: ``--reward.remote_url URL``."""

from typing import Annotated, Any

from ...core.errors import MissingColumn, ScoreError
from .function import RewardFunction, aloud

_KEYS = ("query", "prompts", "labels")


def app(function: RewardFunction) -> Any:
    """A FastAPI application with ``POST /get_reward`` and ``GET /health``.

    A request holds ``query``, ``prompts`` and ``labels``, lists of n; the answer ``rewards``,
    ``scores`` and ``extra_logs`` (name -> list), numbers that are all finite. Requests that wait
    together are scored together. A payload that cannot be used is answered with 422, and a row
    without a score, where ``function`` raises for one, with 500; both say why in ``detail``.

    Raises:
        ImportError: FastAPI is not installed.
    """
    try:
        from fastapi import Body, FastAPI, HTTPException
    except ImportError as error:
        raise ImportError("the server needs FastAPI: pip install 'rewardsmith[server]'") from error

    server = FastAPI(title="rewardsmith")

    @server.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "reward": function.by_row.scorer.reward.label()}

    @server.post("/get_reward")
    async def get_reward(payload: Annotated[Any, Body()]) -> dict[str, Any]:
        try:
            with aloud():
                samples = function.rows(*_lists(payload))
            return await function.answer(samples)
        except ScoreError as error:
            raise HTTPException(500, str(error)) from error
        except (MissingColumn, TypeError, ValueError) as error:
            raise HTTPException(422, str(error)) from error

    return server


def _lists(payload: Any) -> list[Any]:
    if not isinstance(payload, dict):
        raise TypeError(f"the payload is {type(payload).__name__}, not an object")
    lacking = [key for key in _KEYS if key not in payload]
    if lacking:
        raise ValueError(
            f"the payload has no {' and no '.join(map(repr, lacking))}; OpenRLHF posts query, "
            "prompts and labels"
        )
    return [payload[key] for key in _KEYS]

"""IsaacLab's reward manager beside ours: its two files, without the simulator they stand on.

What they import of the simulator and of IsaacLab's configs is replaced; nothing here was run in the
simulator itself.
"""

import importlib
import importlib.util
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import rewardsmith as rs
from rewardsmith.adapters.isaaclab import RewardManager, reward_of
from rewardsmith.signals.env_reward import EnvReward

pytestmark = pytest.mark.contracts


@dataclass
class RewardTermCfg:
    func: Any
    weight: float
    params: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of IsaacLab's ``RewardManager``."""
    spec = importlib.util.find_spec("isaaclab")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("isaaclab is not installed")
    source = Path(spec.submodule_search_locations[0]) / "source" / "isaaclab" / "isaaclab"
    replaced: dict[str, dict[str, Any]] = {
        "omni": {},
        "omni.timeline": {},
        "isaaclab": {"__path__": [str(source)]},
        "isaaclab.utils": {"class_to_dict": vars, "string_to_callable": None, "__path__": []},
        "isaaclab.utils.string": {},
        "isaaclab.managers": {"__path__": [str(source / "managers")]},
        "isaaclab.managers.manager_term_cfg": {
            "ManagerTermBaseCfg": RewardTermCfg,
            "RewardTermCfg": RewardTermCfg,
        },
        "isaaclab.managers.scene_entity_cfg": {"SceneEntityCfg": type("SceneEntityCfg", (), {})},
    }
    for name, content in replaced.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("isaaclab.managers.manager_base", "isaaclab.managers.reward_manager"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("isaaclab.managers.reward_manager")
    yield module
    for name in ("isaaclab.managers.manager_base", "isaaclab.managers.reward_manager"):
        sys.modules.pop(name, None)


class Env:
    """Robots whose speed and height change at random."""

    num_envs, device, max_episode_length_s, step_dt = 5, "cpu", 20.0, 0.02

    def __init__(self) -> None:
        self.sim = types.SimpleNamespace(is_playing=lambda: True)
        self.generator = torch.Generator().manual_seed(0)
        self.step()

    def step(self) -> None:
        self.speed, self.height = torch.randn(2, self.num_envs, generator=self.generator)


def speed(env: Any, target: float) -> Any:
    return torch.exp(-((env.speed - target) ** 2))


def height(env: Any) -> Any:
    return env.height


def fallen(env: Any, below: float = 0.0) -> Any:
    return env.height < below


def config(theirs: Any) -> dict[str, Any]:
    base = sys.modules["isaaclab.managers.manager_base"].ManagerTermBase

    class Tired(base):  # type: ignore[misc]
        """A term with a state: the steps since the reset."""

        def __init__(self, cfg: Any, env: Any) -> None:
            super().__init__(cfg, env)
            self.steps = torch.zeros(self.num_envs)

        def reset(self, env_ids: Any = None) -> None:
            self.steps[slice(None) if env_ids is None else env_ids] = 0.0

        def __call__(self, env: Any, rate: float) -> Any:
            self.steps += 1.0
            return -rate * self.steps

    return {
        "track": RewardTermCfg(speed, 1.5, {"target": 0.3}),
        "height": RewardTermCfg(height, -0.2),
        "fallen": RewardTermCfg(fallen, -2.0),
        "tired": RewardTermCfg(Tired, 0.1, {"rate": 0.01}),
        "off": RewardTermCfg(speed, 0.0, {"target": 1.0}),
        "none": None,
    }


def pair(theirs: Any) -> tuple[Any, RewardManager, Env]:
    """Their manager and ours of the same terms, in the same environment."""
    env = Env()
    manager, source = (theirs.RewardManager(config(theirs), env) for _ in range(2))
    return manager, RewardManager(reward_of(source), source, env), env


def test_it_pays_and_logs_what_theirs_does(theirs: Any) -> None:
    manager, ours, env = pair(theirs)
    assert ours.active_terms == manager.active_terms
    for k in range(30):
        env.step()
        torch.testing.assert_close(ours.compute(dt=env.step_dt), manager.compute(dt=env.step_dt))
        for i in range(env.num_envs):
            told, known = ours.get_active_iterable_terms(i), manager.get_active_iterable_terms(i)
            assert [name for name, _ in told] == [name for name, _ in known]
            assert [v for _, [v] in told] == pytest.approx([v for _, [v] in known], abs=1e-5)
        if k % 7 == 6:
            which = torch.tensor([k % 5, (k + 2) % 5])
            compare(ours.reset(which), manager.reset(which))
    compare(ours.reset(), manager.reset())


def compare(ours: Any, theirs: Any) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, msg=name)


def test_its_curriculum_turns_terms_off_and_on(theirs: Any, monkeypatch: Any) -> None:
    base = sys.modules["isaaclab.managers.manager_base"].ManagerTermBase
    managers = sys.modules["isaaclab.managers"]
    monkeypatch.setattr(managers, "ManagerTermBase", base, raising=False)
    monkeypatch.setattr(managers, "CurriculumTermCfg", types.SimpleNamespace, raising=False)
    source = Path(managers.__path__[0]).parent / "envs" / "mdp" / "curriculums.py"
    spec = importlib.util.spec_from_file_location("curriculums", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    manager, ours, env = pair(theirs)
    worlds = [
        types.SimpleNamespace(reward_manager=each, common_step_counter=0, num_envs=5, device="cpu")
        for each in (manager, ours)
    ]
    schedule = {"term_name": "height", "num_steps": 3}
    config = types.SimpleNamespace(params=schedule)
    both = [(module.modify_reward_weight(config, world), world) for world in worlds]
    for k in range(12):
        weight = 0.0 if k < 7 else -0.2
        for modify, world in both:
            world.common_step_counter = k
            modify(world, [0], weight=weight, **schedule)
        env.step()
        torch.testing.assert_close(ours.compute(dt=0.1), manager.compute(dt=0.1))
    modify, world = both[1]
    with pytest.raises(ValueError, match=r"weight -3\.0 of the term 'height' would"):
        modify(world, [0], weight=-3.0, **schedule)


def test_its_terms_can_be_paid_in_another_way(theirs: Any) -> None:
    env = Env()
    source = theirs.RewardManager(config(theirs), env)
    reward = rs.Gate(1.0 - EnvReward("fallen"), reward_of(source), 0.5)
    gated = RewardManager(reward, source, env)
    plain = theirs.RewardManager(config(theirs), env)
    for _ in range(10):
        env.step()
        up = (env.height >= 0).float()
        torch.testing.assert_close(gated.compute(dt=0.1), up * plain.compute(dt=0.1))

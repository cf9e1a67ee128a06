from functools import partial

import pytest
import torch
from tests.policy.losses.cases import batch

from rewardsmith.policy.losses.aggregation import Aggregation
from rewardsmith.policy.losses.value import value_loss


def _critic(seed: int = 0):
    mask = batch(seed=seed)["mask"]
    values, old, returns = torch.randn(
        3, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return {"values": values, "old_values": old, "returns": returns, "mask": mask}


def _descend(values, old_values, returns, mask, **options):
    leaf = values.clone().requires_grad_()
    loss = value_loss(leaf, old_values, returns, mask, **options).loss
    loss.backward()
    return loss.detach(), leaf.grad


@pytest.mark.parametrize(
    ("value", "loss", "slope"),
    [
        # The old value is 0, the return 1, the clip 0.25: towards the return it is held.
        (0.2, 0.32, -0.8),
        (0.6, 0.28125, 0.0),
        (1.2, 0.28125, 0.0),
        (-0.2, 0.72, -1.2),
        (-0.6, 1.28, -1.6),
        (3.0, 2.0, 2.0),
    ],
)
def test_a_value_is_held_where_it_runs_towards_its_return(value, loss, slope):
    one = {"values": torch.tensor([[value]]), "old_values": torch.zeros(1, 1)}
    one |= {"returns": torch.ones(1, 1), "mask": torch.tensor([[True]])}
    got, gradient = _descend(
        **{k: v.double() for k, v in one.items()} | {"mask": one["mask"]}, clip=0.25
    )
    assert float(got) == pytest.approx(loss, rel=1e-6)
    assert float(gradient) == pytest.approx(slope, abs=1e-6)


def test_without_a_clip_it_is_half_the_squared_error():
    it = _critic()
    loss, gradient = _descend(**it, clip=None)
    away = torch.where(it["mask"], it["values"] - it["returns"], 0.0)
    count = it["mask"].sum()
    torch.testing.assert_close(loss, 0.5 * away.square().sum() / count)
    torch.testing.assert_close(gradient, away / count)
    assert _descend(**{**it, "old_values": None}, clip=None)[0] == loss


def test_a_critic_that_has_not_moved_is_not_clipped():
    it = _critic()
    it["old_values"] = it["values"]
    left, right = _descend(**it, clip=0.01), _descend(**it, clip=None)
    torch.testing.assert_close(left, right)


def test_the_metric_counts_the_values_without_a_gradient():
    it = _critic()
    out = value_loss(**it, clip=0.2)
    _, gradient = _descend(**it, clip=0.2)
    held = int((it["mask"] & gradient.eq(0.0)).sum()) / int(it["mask"].sum())
    assert float(out.metrics["clipped"]) == pytest.approx(held)
    assert held > 0.0


def test_what_is_masked_may_be_anything():
    it = _critic()
    junk = {k: v.masked_fill(~it["mask"], torch.nan) for k, v in it.items() if k != "mask"}
    left, right = _descend(**it, clip=0.2), _descend(**junk, mask=it["mask"], clip=0.2)
    torch.testing.assert_close(left, right)


@pytest.mark.parametrize("mode", ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum"])
def test_micro_batches_add_up(mode):
    it = _critic()
    how = Aggregation.of_batch(mode, it["mask"])
    run = partial(_descend, clip=0.2, aggregation=how)
    parts = [run(**{k: v[rows] for k, v in it.items()}) for rows in (slice(0, 2), slice(2, 6))]
    loss, gradient = run(**it)
    torch.testing.assert_close(loss, parts[0][0] + parts[1][0])
    torch.testing.assert_close(gradient, torch.cat([parts[0][1], parts[1][1]]))


def test_a_gradient_flows_through_the_values_alone():
    it = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in _critic().items()}
    value_loss(**it).loss.backward()
    assert it["values"].grad is not None
    assert it["old_values"].grad is None
    assert it["returns"].grad is None


def test_half_precision_is_widened():
    it = {k: v if v.dtype == torch.bool else v.bfloat16() for k, v in _critic().items()}
    loss, gradient = _descend(**it)
    assert loss.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    assert loss == _descend(**{k: v if k == "mask" else v.float() for k, v in it.items()})[0]


def test_it_compiles_without_a_graph_break():
    torch._dynamo.reset()
    it = _critic()
    compiled = torch.compile(value_loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(**it, clip=0.2).loss, value_loss(**it, clip=0.2).loss)


@pytest.mark.parametrize("clip", [0.0, -0.1, float("nan"), float("inf")])
def test_a_clip_that_is_not_above_zero_is_refused(clip):
    with pytest.raises(ValueError, match=r"value_loss: clip is .*; it is above 0, or None"):
        value_loss(**_critic(), clip=clip)


def test_bad_tensors_are_refused():
    it = _critic()
    with pytest.raises(ValueError, match=r"clip is 0.5 of old_values, which are None"):
        value_loss(**{**it, "old_values": None})
    with pytest.raises(ValueError, match=r"values has the shape \[6, 9\], returns \[6, 4\]"):
        value_loss(**{**it, "returns": it["returns"][:, :4]})
    for column, name in (("values", "value"), ("old_values", "old value"), ("returns", "return")):
        for junk in ("nan", "inf"):
            broken = it[column].clone()
            broken[2, 0] = float(junk)
            with pytest.raises(ValueError, match=f"row 2 has the {name} {junk} at token 0"):
                value_loss(**{**it, column: broken})

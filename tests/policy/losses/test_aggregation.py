import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.core.advantages import Advantages
from rewardsmith.policy.losses.aggregation import Aggregation, Mode, aggregation_of
from rewardsmith.policy.losses.detached import policy_gradient

LOSS = torch.tensor([[1.0, 2.0, 3.0], [5.0, 7.0, 11.0], [13.0, 17.0, 19.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, False], [False, False, False], [True, True, True]])
# Row sums 3 and 49, row means 1.5 and 49 / 3.
EXPECTED = {
    "token-mean": 52 / 5,
    "seq-mean-token-mean": (1.5 + 49 / 3) / 2,
    "seq-mean-token-sum": 52 / 2,
    "seq-mean-token-sum-norm": 52 / 2 / 8,
    "seq-sum-token-mean": 1.5 + 49 / 3,
    "token-sum": 52.0,
}


def _of(mode: str, **counts: float) -> Aggregation:
    return Aggregation(mode, **counts, **({"length": 8.0} if mode.endswith("norm") else {}))


def test_every_mode_has_an_expected_value():
    assert set(EXPECTED) == set(Mode.__args__)


@pytest.mark.parametrize("mode", EXPECTED)
def test_a_mode_is_the_mean_that_it_names(mode):
    assert float(_of(mode)(LOSS, MASK)) == pytest.approx(EXPECTED[mode], rel=1e-15)


@pytest.mark.parametrize("mode", EXPECTED)
@pytest.mark.parametrize("junk", [float("nan"), float("inf")])
def test_what_is_masked_may_be_anything(mode, junk):
    loss = torch.where(MASK, LOSS, junk).requires_grad_()
    value = _of(mode)(loss, MASK)
    value.backward()
    assert float(value.detach()) == pytest.approx(EXPECTED[mode], rel=1e-15)
    assert loss.grad[~MASK].eq(0.0).all()


@pytest.mark.parametrize("mode", EXPECTED)
def test_nothing_to_learn_from_is_zero(mode):
    assert float(_of(mode)(LOSS, torch.zeros_like(MASK))) == 0.0
    none = Aggregation.of_batch(mode, torch.zeros_like(MASK), length=_of(mode).length)
    assert float(none(LOSS, torch.zeros_like(MASK))) == 0.0


@settings(max_examples=25)
@given(st.data())
def test_pieces_add_up_however_the_batch_is_cut(data):
    n, t = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    bits = st.lists(st.booleans(), min_size=n * t, max_size=n * t)
    mask = torch.tensor(data.draw(bits)).view(n, t)
    loss = torch.arange(n * t, dtype=torch.float64).view(n, t).sin()
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=3)))
    for mode in EXPECTED:
        whole = Aggregation.of_batch(mode, mask, length=_of(mode).length)
        pieces = zip([0, *cuts], [*cuts, n], strict=True)
        total = sum(float(whole(loss[a:b], mask[a:b])) for a, b in pieces)
        assert total == pytest.approx(float(_of(mode)(loss, mask)), abs=1e-12)


def test_given_denominators_stand_for_what_is_counted():
    assert float(_of("token-mean", tokens=10.0)(LOSS, MASK)) == pytest.approx(5.2)
    assert float(_of("seq-mean-token-sum", sequences=3.0)(LOSS, MASK)) == pytest.approx(52 / 3)
    norm = Aggregation("seq-mean-token-sum-norm", sequences=4.0, length=2.0)
    assert float(norm(LOSS, MASK)) == pytest.approx(6.5)


def test_averaged_gradients_of_ranks_are_the_batchs_even_with_less_than_a_sequence_each(
    monkeypatch,
):
    # Two ranks: this one has nothing, the other one token of one sequence.
    def both(values, ranks):
        return torch.full_like(values, 2.0) if values.eq(1.0).all() else values + 1.0

    monkeypatch.setattr("rewardsmith.policy.losses.aggregation.summed", both)
    how = Aggregation.of_batch("token-mean", torch.tensor([[False]]), ranks=object())
    assert how.tokens == 0.5
    other = float(how(torch.tensor([[3.0]]), torch.tensor([[True]])))
    assert (0.0 + other) / 2 == 3.0


def test_rows_of_advantages_that_do_not_train_count_in_no_mean():
    keep = torch.tensor([True, True, False])
    made = Advantages(torch.ones(3, dtype=torch.float64), keep)
    for mode in EXPECTED:
        how = Aggregation.of_batch(mode, made.masked(MASK), length=_of(mode).length)
        whole = policy_gradient(LOSS, made, MASK, aggregation=how).loss
        own = policy_gradient(LOSS, made, MASK, aggregation=_of(mode)).loss
        assert float(whole) == pytest.approx(float(own), rel=1e-15)


def test_a_batch_of_a_mode_or_a_length_that_is_not_is_refused():
    with pytest.raises(ValueError, match="aggregation 'bogus' is none of token-mean, "):
        Aggregation.of_batch("bogus", MASK)
    with pytest.raises(ValueError, match="aggregation 'token-mean' does not divide by length"):
        Aggregation.of_batch("token-mean", MASK, length=5)


@pytest.mark.parametrize("mode", EXPECTED)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_counts_and_sums_of_half_precision_do_not_overflow(mode, dtype):
    ones, mask = torch.ones(64, 2048, dtype=dtype), torch.ones(64, 2048, dtype=torch.bool)
    value = _of(mode)(ones, mask)
    assert value.dtype == torch.float32
    assert value == _of(mode)(ones.double(), mask)


def test_a_mode_stands_for_itself_and_an_aggregation_for_its_denominators():
    assert aggregation_of("token-sum") == Aggregation("token-sum")
    how = Aggregation("token-mean", tokens=3.0)
    assert aggregation_of(how) is how


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "mean"}, "aggregation 'mean' is none of token-mean, "),
        ({"mode": "token-mean", "sequences": 2.0}, "'token-mean' does not divide by sequences"),
        ({"mode": "token-sum", "sequences": 2.0}, "'token-sum' does not divide by sequences"),
        ({"mode": "token-mean", "tokens": 0.0}, "tokens is 0.0, it must be positive"),
        ({"mode": "seq-mean-token-sum-norm"}, "divides by a fixed length; give the most tokens"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Aggregation(**options)

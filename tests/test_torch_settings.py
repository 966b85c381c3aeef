"""Settings of torch that hold for the process or a thread are as before when a gradient step has ended."""

from typing import Any

import pytest
import torch as th

from sac_ext.torch_settings import denormals_are_flushed, flushed_denormals
from tests.modes import ready, train

DENORMAL = 1e-40


@pytest.fixture
def unflushed() -> Any:
    if not th.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    th.set_flush_denormal(False)
    yield
    th.set_flush_denormal(False)


def test_denormals_are_flushed_for_a_while(unflushed: None) -> None:
    numbers = th.full((100,), DENORMAL)
    with flushed_denormals():
        assert denormals_are_flushed()
        assert not (numbers * 0.5).any()
        with flushed_denormals():
            pass
        assert denormals_are_flushed()
    assert not denormals_are_flushed()
    assert (numbers * 0.5).all()
    with flushed_denormals(False):
        assert not denormals_are_flushed()


def test_they_stay_flushed_where_the_user_has_asked_for_it(unflushed: None) -> None:
    th.set_flush_denormal(True)
    with flushed_denormals():
        pass
    assert denormals_are_flushed()


def test_they_are_as_before_after_an_error(unflushed: None) -> None:
    with pytest.raises(KeyError), flushed_denormals():
        raise KeyError
    assert not denormals_are_flushed()


@pytest.mark.parametrize(
    ("execution", "actions", "flushes"),
    [("eager", "box", False), ("eager", "discrete", True), ("compile", "box", True), ("compile", "discrete", True)],
)
def test_no_time_goes_into_denormals_but_where_sac_has_their_bits(
    execution: str, actions: str, flushes: bool, unflushed: None, traced: None
) -> None:
    """Adam's means are denormal from the start, and their gradients are zero."""
    model = ready(execution, actions)
    train(model, steps=2, at_once=1)
    dead = model.critic.qf0[0].weight  # of the first layer
    state = model.critic.optimizer.state[dead]
    dead.data.zero_()
    model.critic.qf0[0].bias.data.fill_(-1.0)  # so that each of its units is dead
    state["exp_avg"].fill_(DENORMAL)
    train(model, steps=3, at_once=1)
    assert bool((state["exp_avg"] == 0).all()) == flushes
    assert not denormals_are_flushed()

"""Masks given to predict, evaluations with masks, and masks that are refused."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib.common.maskable.callbacks import MaskableEvalCallback
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.callbacks import CallbackList, EvalCallback, EveryNTimesteps
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from sac_ext import ActionMasksInInfo, SoftAC
from tests.catalogue import ACTIONS, DISCRETE, SMALL, MaskedEnv, RandomEnv, masks_at
from tests.masked import FAST, masked


@pytest.mark.parametrize("actions", DISCRETE)
@pytest.mark.parametrize("deterministic", [True, False])
def test_predict_with_masks(actions: str, deterministic: bool) -> None:
    model, space = masked(actions), ACTIONS[actions]
    observations = np.array([model.observation_space.sample() for _ in range(60)])
    masks = masks_at(observations, space)
    predicted, _ = model.predict(observations, deterministic=deterministic, action_masks=masks)
    code = model.head.code
    taken = code.environment_components.flat_positions(th.as_tensor(predicted).reshape(60, -1) - code.starts)
    assert masks[np.arange(60)[:, None], taken.numpy()].all()
    one, _ = model.predict(observations[0], deterministic=deterministic, action_masks=masks[0].astype(np.int8))
    assert one.shape == space.shape
    assert space.contains(one)
    unmasked, _ = model.predict(observations, deterministic=True)
    again, _ = model.predict(observations, deterministic=True, action_masks=np.ones_like(masks))
    np.testing.assert_array_equal(unmasked, again)


@pytest.mark.parametrize("kind", [DummyVecEnv, SubprocVecEnv])
def test_environments_of_which_only_some_have_masks_are_refused(kind: Any) -> None:
    env = kind([partial(MaskedEnv, actions="discrete"), partial(RandomEnv, actions="discrete")])
    with pytest.raises(ValueError, match=r"environments \[0\] have action_masks\(\), but environments \[1\] do not"):
        SoftAC("MlpPolicy", env, **FAST)
    env.close()


def test_masks_in_info_have_to_be_there() -> None:
    def masker(env: gym.Env) -> gym.Env:
        return ActionMasker(env, lambda _: np.ones(4, dtype=bool))

    with pytest.raises(ValueError, match=r"no action_masks\(\): apply ActionMasker, .* before ActionMasksInInfo"):
        masker(ActionMasksInInfo(RandomEnv(actions="discrete")))
    env = DummyVecEnv([lambda: ActionMasksInInfo(masker(RandomEnv(actions="discrete")))])
    SoftAC("MlpPolicy", env, **FAST).learn(40)


def test_masks_of_components_apart_are_told_to_be_concatenated() -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions="multibinary"), **FAST)
    with pytest.raises(ValueError, match=r"join the components' masks with np\.concatenate"):
        model.predict(model.observation_space.sample(), action_masks=np.ones((len(model.head.mask_sizes), 2), bool))


def test_sb3_contribs_evaluation() -> None:
    model = masked("discrete").learn(40)
    evaluate_policy(model, Monitor(MaskedEnv(actions="discrete")), n_eval_episodes=3)


@pytest.mark.parametrize(
    ("masks", "error", "match"),
    [
        (np.ones(3, dtype=bool), ValueError, r"masks for Discrete\(4\) must have shape \(4,\), .*got \((3,|1, 3)\)"),
        (np.ones((1, 1, 4), dtype=bool), ValueError, r"must have shape \(4,\)"),
        (np.ones(4, dtype=np.float32), TypeError, "must be bools, or the integers 0 and 1, got float32"),
        (np.full(4, 2), ValueError, r"or the integers 0 and 1, got \[2\]"),
        (np.zeros(4, dtype=bool), ValueError, r"allow no value of component 0 of Discrete\(4\)"),
    ],
)
def test_bad_masks(masks: np.ndarray, error: type[Exception], match: str) -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions="discrete"), policy_kwargs=SMALL)
    with pytest.raises(error, match=match):
        model.predict(model.observation_space.sample(), action_masks=masks)
    env = ActionMasker(RandomEnv(actions="discrete"), lambda env: masks)
    with pytest.raises(error, match=match):
        SoftAC("MlpPolicy", env, **FAST).learn(10)


def test_a_component_without_a_value_is_named() -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions="multidiscrete"), policy_kwargs=SMALL)
    masks = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with pytest.raises(ValueError, match=r"no value of component 1 of MultiDiscrete\(\[3 2\].*row 1 of the masks"):
        model.predict(np.zeros((2, 3), dtype=np.float32), action_masks=masks)


@pytest.mark.parametrize("parts", [(np.ones(3), np.ones(2)), [[1, 1, 1], [1, 1]]], ids=["arrays", "lists"])
def test_masks_of_each_component_apart(parts: Any) -> None:
    """As Gymnasium's spaces take them."""
    model = SoftAC("MlpPolicy", RandomEnv(actions="multidiscrete"), policy_kwargs=SMALL)
    match = r"for MultiDiscrete.* must have shape \(5,\), .*got parts of \[3, 2\] values: .*np\.concatenate"
    with pytest.raises(ValueError, match=match):
        model.predict(np.zeros(3, dtype=np.float32), action_masks=parts)


def test_masks_of_different_lengths_in_several_environments() -> None:
    makes = [
        lambda n=n: ActionMasker(RandomEnv(actions="discrete"), lambda env: np.ones(n, dtype=bool)) for n in (4, 3)
    ]
    with pytest.raises(ValueError, match=r"must have shape \(4,\), .*got parts of \[4, 3\] values"):
        SoftAC("MlpPolicy", DummyVecEnv(makes), **FAST).learn(10)


def test_masks_that_may_not_be_written_to() -> None:
    mask = np.array([False, True, False, False])
    mask.flags.writeable = False
    model = SoftAC("MlpPolicy", ActionMasker(RandomEnv(actions="discrete"), lambda env: mask), **FAST).learn(60)
    action, _ = model.predict(np.zeros(3, dtype=np.float32), action_masks=mask)
    assert action == 1


def test_a_method_of_that_name_on_whole_numbers_is_not_called() -> None:
    class Other(RandomEnv):
        def action_masks(self) -> None:
            raise AssertionError

    env = Other()
    env.action_space = spaces.Box(0, 3, (2,), np.int64)
    assert SoftAC._wrap_env(env).env_is_wrapped(ActionMasksInInfo) == [False]
    assert SoftAC._wrap_env(MaskedEnv(actions="discrete")).env_is_wrapped(ActionMasksInInfo) == [True]


def test_masks_on_box() -> None:
    model = SoftAC("MlpPolicy", RandomEnv(), policy_kwargs=SMALL)
    with pytest.raises(ValueError, match=r"actions of Box.* cannot be masked"):
        model.predict(model.observation_space.sample(), action_masks=np.ones(2, dtype=bool))


def test_as_many_masks_as_observations() -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions="discrete"), policy_kwargs=SMALL)
    with pytest.raises(ValueError, match="3 action masks for 2 observations"):
        model.predict(np.zeros((2, 3), dtype=np.float32), action_masks=np.ones((3, 4), dtype=bool))


@pytest.mark.parametrize("wrapped", [lambda callback: callback, lambda callback: CallbackList([callback])])
def test_evaluations_without_masks_are_warned_of(wrapped: Any, recwarn: pytest.WarningsRecorder) -> None:
    def learn(model: SoftAC, callback: EvalCallback) -> None:
        model.learn(4, callback=wrapped(EveryNTimesteps(100, wrapped(callback))))

    said = "EvalCallback evaluates without action masks"
    with pytest.warns(UserWarning, match=said):
        learn(masked("discrete"), EvalCallback(Monitor(MaskedEnv(actions="discrete"))))
    learn(masked("discrete"), MaskableEvalCallback(Monitor(MaskedEnv(actions="discrete"))))
    without = SoftAC("MlpPolicy", RandomEnv(), **FAST)
    learn(without, EvalCallback(Monitor(RandomEnv())))
    assert not [warning for warning in recwarn if said in str(warning.message)]

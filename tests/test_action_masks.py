"""What an environment does not allow is never done, and has no part in any value."""

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib.common.maskable.callbacks import MaskableEvalCallback
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import CallbackList, EvalCallback, EveryNTimesteps
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize
from torch.testing import assert_close

from sac_ext import ActionMasksInInfo, SoftAC, losses
from sac_ext.execution import compiled
from sac_ext.heads import make_head
from tests.catalogue import (
    ACTIONS,
    CRITICS,
    DISCRETE,
    FACTORED,
    OBSERVATIONS,
    SMALL,
    MaskedEnv,
    RandomEnv,
    masks_at,
    small_networks,
)
from tests.compare import td_target
from tests.modes import assert_close_models, ready, train

FAST: dict[str, Any] = {"seed": 0, "learning_starts": 30, "batch_size": 16, "buffer_size": 500, "policy_kwargs": SMALL}


def masked(actions: str, **kwargs: Any) -> SoftAC:
    return SoftAC("MlpPolicy", MaskedEnv(actions=actions), **FAST | kwargs)


def vectorised(actions: str, n: int = 3, wrapped: bool = True, kind: Callable[..., Any] = DummyVecEnv) -> Any:
    make: Callable[[], gym.Env] = partial(MaskedEnv, actions=actions)
    return kind([(lambda: Monitor(ActionMasksInInfo(make()))) if wrapped else make] * n)


# ---------------------------------------------------------------- acting and storing


@pytest.mark.parametrize("actions", DISCRETE)
@pytest.mark.parametrize("env", ["one", "several"])
def test_only_what_is_allowed_is_done(actions: str, env: str) -> None:
    """In the random steps before learning starts, and by the policy: the environment asserts it."""
    model = SoftAC("MlpPolicy", MaskedEnv(actions=actions) if env == "one" else vectorised(actions), **FAST)
    model.learn(90)
    assert model._n_updates > 0
    assert all(th.isfinite(value).all() for value in model.policy.state_dict().values())


@pytest.mark.parametrize("actions", FACTORED)
@pytest.mark.parametrize("critic", CRITICS)
def test_every_critic_keeps_to_the_masks(actions: str, critic: str) -> None:
    masked(actions, policy_kwargs=SMALL | {"critic": critic}).learn(70)


def test_environments_in_processes() -> None:
    env = vectorised("discrete", 2, kind=partial(SubprocVecEnv, start_method="fork"))
    try:
        SoftAC("MlpPolicy", env, **FAST).learn(60)
    finally:
        env.close()


def test_sb3_contribs_wrapper() -> None:
    env = ActionMasker(RandomEnv(actions="discrete"), lambda env: np.array([True, False, True, False]))
    model = SoftAC("MlpPolicy", env, **FAST).learn(60)
    assert set(np.unique(model.replay_buffer.actions[:60])) <= {0, 2}
    batch = model.replay_buffer.sample(16)
    assert th.equal(batch.action_masks, th.tensor([True, False, True, False]).expand(16, -1))


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize(
    "options", [{}, {"replay_buffer_kwargs": {"prioritized": True}}, {"optimize_memory_usage": True}]
)
def test_masks_are_those_of_the_observations(n_steps: int, options: dict[str, Any]) -> None:
    """Also of the last observation of an episode that was cut off, and at the end of an n-step return."""
    model = SoftAC("MlpPolicy", vectorised("discrete"), n_steps=n_steps, **FAST | options)
    model.learn(300)
    batch = model.replay_buffer.sample(400)
    space = ACTIONS["discrete"]
    assert batch.action_masks.dtype == th.bool
    np.testing.assert_array_equal(batch.action_masks, masks_at(batch.observations.numpy(), space))
    goes_on = batch.dones.numpy()[:, 0] == 0
    following = masks_at(batch.next_observations.numpy(), space)
    np.testing.assert_array_equal(batch.next_action_masks.numpy()[goes_on], following[goes_on])
    assert batch.next_action_masks.numpy()[~goes_on].all()
    assert model.replay_buffer.timeouts.any()
    taken = batch.actions.numpy()[:, 0]
    assert batch.action_masks.numpy()[np.arange(400), taken].all()


@pytest.mark.parametrize("observations", ["image", "dict", "normalised vector"])
def test_masks_beside_other_observations(observations: str) -> None:
    name = observations.split()[-1]
    env = DummyVecEnv([lambda: Monitor(ActionMasksInInfo(MaskedEnv(name, "multidiscrete")))] * 2)
    if observations != name:
        env = VecNormalize(env)
    model = SoftAC(OBSERVATIONS[name][1], env, **FAST | {"policy_kwargs": small_networks(name)}).learn(90)
    assert model._n_updates > 0
    batch = model.replay_buffer.sample(100)  # observations are as the environment gave them
    obs = batch.observations["vector"] if name == "dict" else batch.observations
    np.testing.assert_array_equal(batch.action_masks, masks_at(obs.numpy(), ACTIONS["multidiscrete"]))


def test_an_episode_cut_off_without_its_last_masks_counts_as_terminated() -> None:
    model = SoftAC("MlpPolicy", vectorised("discrete", wrapped=False), **FAST)
    with pytest.warns(UserWarning, match="masks of its last observation are not known.*ActionMasksInInfo") as warned:
        model.learn(200)
    assert len({str(warning.message) for warning in warned}) == 1
    assert not model.replay_buffer.timeouts.any()
    assert model.replay_buffer.dones.any()


def test_where_a_time_limit_is_an_end_nobody_asks_for_its_masks() -> None:
    options = FAST | {"replay_buffer_kwargs": {"handle_timeout_termination": False}}
    model = SoftAC("MlpPolicy", vectorised("discrete", wrapped=False), **options).learn(200)
    batch = model.replay_buffer.sample(400)
    ended = batch.dones[:, 0] == 1
    assert ended.any()
    assert batch.next_action_masks[ended].all()


class Counter(gym.Env):
    """Shows its step, at which only the action of that number is allowed; one array of masks, written over again."""

    observation_space = spaces.Box(0, 99, (1,), np.float32)
    action_space: spaces.Space = spaces.Discrete(4)
    empty_at = -1

    def __init__(self) -> None:
        self.mask = np.zeros(4, dtype=bool)

    def _show(self) -> np.ndarray:
        self.mask[:] = False
        self.mask[self.count % 4] = self.count != self.empty_at
        return np.array([self.count], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return self._show(), {}

    def action_masks(self) -> np.ndarray:
        return self.mask

    def step(self, action: Any) -> Any:
        assert action == self.count % 4
        self.count += 1
        return self._show(), 0.0, False, self.count >= 6, {}


def test_masks_that_the_environment_writes_over_at_the_reset() -> None:
    model = SoftAC("MlpPolicy", Counter(), **FAST).learn(60)
    batch = model.replay_buffer.sample(300)
    expected = batch.next_observations.long() % 4
    assert (batch.next_observations == 6).any()
    assert batch.next_action_masks.gather(1, expected).all()
    assert (batch.next_action_masks.sum(dim=1) == 1).all()


def test_a_time_limit_where_no_action_is_left_counts_as_terminated() -> None:
    class Stuck(Counter):
        empty_at = 6

    model = SoftAC("MlpPolicy", Stuck(), **FAST).learn(60)
    batch = model.replay_buffer.sample(300)
    assert th.equal(batch.dones == 1, batch.next_observations == 6)


def test_a_time_limit_where_one_component_has_no_value_left_counts_as_terminated() -> None:
    class Stuck(RandomEnv):
        def action_masks(self) -> np.ndarray:
            return np.array([True] * 3 + [self.step_count < 7] * 2)

        def step(self, action: Any) -> Any:
            obs, reward, _, _, info = super().step(action)
            return obs, reward, False, self.step_count == 7, info

    model = SoftAC("MlpPolicy", Stuck(actions="multidiscrete"), **FAST).learn(70)
    storage = model.replay_buffer.storage
    assert storage.stored("dones")[:70].sum() == 10
    assert not storage.stored("timeouts")[:70].any()


def test_masks_are_not_asked_for_at_the_end_of_a_game() -> None:
    class Over(Counter):
        def action_masks(self) -> np.ndarray:
            assert self.count < 6, "the game is over: there are no moves"
            return self.mask

        def step(self, action: Any) -> Any:
            obs, reward, _, ends, info = super().step(action)
            return obs, reward, ends, False, info

    SoftAC("MlpPolicy", Over(), **FAST).learn(60)


def test_a_method_of_that_name_on_box_is_not_called() -> None:
    class Other(RandomEnv):
        def action_masks(self) -> None:
            raise AssertionError

    SoftAC("MlpPolicy", Other(), **FAST).learn(40)


def test_multibinary_is_random_within_its_masks_at_the_start() -> None:
    """Each bit may be 0 only, 1 only, or either."""
    env = ActionMasker(
        RandomEnv(actions="multibinary"), lambda env: np.array([[1, 0], [0, 1]] + [[1, 1]] * 8).flatten()
    )
    model = SoftAC("MlpPolicy", env, **FAST | {"learning_starts": 200}).learn(200)
    actions = model.replay_buffer.actions[:200, 0]
    assert not actions[:, 0].any()
    assert actions[:, 1].all()
    assert 0.35 < actions[:, 2:].mean() < 0.65


@pytest.mark.parametrize(
    "copies", [copy.deepcopy, lambda model: pickle.loads(cloudpickle.dumps(model))], ids=["deepcopy", "pickle"]
)
def test_copies_of_models_learn_on(copies: Any) -> None:
    model = masked("discrete", entropy_penalty=0.1).learn(40)
    copies(model).learn(20, reset_num_timesteps=False)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("actions", DISCRETE)
@pytest.mark.parametrize("critic", CRITICS)
def test_values_of_what_is_not_allowed_do_not_count(actions: str, critic: str) -> None:
    """Neither in the target nor in the actor's gradient, however large they are."""
    model = masked(actions, policy_kwargs=SMALL | {"critic": critic}, critic_reduction="min").learn(40)
    batch = model.replay_buffer.sample(16)
    batch = batch._replace(dones=th.zeros_like(batch.dones))
    n_values = batch.action_masks.shape[1]
    first = model.head.code.environment_components.first
    allowed, next_allowed = th.zeros(2, 16, n_values, dtype=th.bool)
    allowed[:, first] = True  # the first value of each component, and afterwards the second one
    next_allowed[:, first + 1] = True
    batch = batch._replace(action_masks=allowed, next_action_masks=next_allowed)
    results = []
    for change in (0.0, 1e3):
        with th.no_grad():
            for critic_networks, masks in ((model.critic, allowed), (model.critic_target, next_allowed)):
                for q_network in critic_networks.q_networks:
                    if critic == "local":
                        q_network[0].weight[:, -n_values:] += change * ~masks[0]
                    else:
                        forbidden = ~model.head.code.policy_masks(masks)[0]
                        q_network[-1].bias[-len(forbidden) :] += change * forbidden
        th.manual_seed(0)
        pi = model.head.pi(model.actor, batch.observations, allowed)
        q = model.head.expected_q(pi, model.critic, batch.observations, losses.REDUCTIONS["min"])
        results.append(
            (q, *th.autograd.grad(q.sum(), list(model.actor.parameters())), td_target(model, batch, th.tensor(0.1)))
        )
    for before, after in zip(*results, strict=True):
        assert_close(before, after)
        assert before.abs().max() < 100


@pytest.mark.parametrize("space", [spaces.Discrete(5), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2)], ids=str)
@pytest.mark.parametrize("critic", CRITICS)
def test_the_masked_policy_is_the_policy_given_what_is_allowed(space: spaces.Space, critic: str) -> None:
    head = make_head(space, critic=critic)
    mask = th.tensor([True, False, True, True, False])[: sum(head.mask_sizes)]
    logits = th.randn(1, head.code.components.n_values, requires_grad=True)
    masks = head.code.policy_masks(mask[None])
    log_probs = head.code.components.log_probs(logits, masks)
    free = head.code.components.log_probs(logits)
    allowed = head.code.components.padded(masks) & head.code.components.exists
    probs, all_probs = log_probs.exp(), free.exp() * allowed
    assert_close(probs, all_probs / all_probs.sum(dim=-1, keepdim=True))
    assert (probs[~allowed] == 0).all()
    (1e6 * (probs * log_probs.masked_fill(~allowed, 0)).sum()).backward()
    assert th.isfinite(logits.grad).all()


# ---------------------------------------------------------------- entropy


def test_the_largest_entropy_that_masks_leave() -> None:
    head = make_head(spaces.MultiDiscrete([2, 3]))
    masks = th.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 1, 0, 0, 1]], dtype=th.bool)
    assert_close(head.masked_max_entropies(masks).exp(), th.tensor([[2.0, 3.0], [1.0, 2.0], [1.0, 1.0]]))


def test_each_state_has_the_target_that_its_mask_leaves() -> None:
    model = masked("discrete", target_entropy="fraction:0.5").learn(40)
    batch = model.replay_buffer.sample(16)
    masks = th.zeros(16, 4, dtype=th.bool)
    masks[:, 0] = True  # no choice at first
    masks[4:8, 1] = True
    masks[8:] = True
    batch = batch._replace(action_masks=masks)
    model._refresh_update()
    targets, free = model._update._target_entropies(batch)
    assert_close(targets, 0.5 * th.tensor([1.0] * 4 + [2.0] * 4 + [4.0] * 8).log())
    assert free.tolist() == [False] * 4 + [True] * 12
    with th.no_grad():
        entropy = model.head.pi(model.actor, batch.observations, masks).entropy
    expected = (model.log_ent_coef.detach() * (entropy - targets))[4:].mean()
    assert_close(model._run_step(batch, True, True).metrics["ent_coef_loss"], expected)


def test_states_without_a_choice_alone_leave_the_coefficient() -> None:
    model = masked("discrete").learn(40)
    batch = model.replay_buffer.sample(16)
    masks = th.zeros(16, 4, dtype=th.bool)
    masks[:, 2] = True
    model._refresh_update()
    measured = model._run_step(batch._replace(action_masks=masks), True, True).metrics
    assert measured["ent_coef_loss"].item() == 0
    assert th.isfinite(model.log_ent_coef).all()


def test_the_behaviours_entropy_is_that_within_the_masks() -> None:
    model = masked("discrete", entropy_penalty=0.1, learning_starts=60).learn(50)  # the policy has not changed yet
    batch = model.replay_buffer.sample(40)
    with th.no_grad():
        expected = model.head.pi(model.actor, batch.observations, batch.action_masks).entropy
    assert_close(batch.behavior_entropies.flatten(), expected)


def test_the_logged_target_is_that_of_the_states() -> None:
    model = masked("discrete", target_entropy="fraction:0.5").learn(60)
    assert 0 < model.logger.name_to_value["train/target_entropy"] < 0.5 * np.log(4)


def test_the_target_that_is_not_reached_within_bounds_is_that_of_the_states() -> None:
    mask = np.array([True, True, False, False])
    env = ActionMasker(RandomEnv(actions="discrete"), lambda env: mask)
    model = SoftAC("MlpPolicy", env, target_entropy="fraction:0.5", ent_coef_bounds=(0.5, 0.5001), **FAST)
    with pytest.warns(UserWarning, match=rf"entropy target of {0.5 * np.log(2):.4g} nats is not reached"):
        model.learn(60)


class Board(RandomEnv):
    """19 by 19 points of which 20 are free, and a pass; refuses a point that is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Discrete(362)

    def action_masks(self) -> np.ndarray:
        mask = np.zeros(362, dtype=bool)
        mask[[*self.free, 361]] = True
        return mask

    def reset(self, **kwargs: Any) -> Any:
        result = super().reset(**kwargs)
        self.free = self.np_random.choice(361, 20, replace=False)
        return result

    def step(self, action: Any) -> Any:
        assert self.action_masks()[action], action
        result = super().step(action)
        self.free = self.free[self.free != action]
        return result


def test_a_board_with_few_free_points() -> None:
    """Of 362 actions 9 to 21 are legal: the entropy that can be asked for is that of these."""
    model = SoftAC("MlpPolicy", Board(), target_entropy="fraction:0.5", **FAST).learn(150)
    logged = model.logger.name_to_value
    assert 0.5 * np.log(9) <= logged["train/target_entropy"] <= 0.5 * np.log(21)
    assert 0 < logged["train/entropy"] <= np.log(21)


# ---------------------------------------------------------------- predict


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


# ---------------------------------------------------------------- replay buffers, environments, files


def test_other_replay_buffers_are_refused() -> None:
    with pytest.raises(ValueError, match="a ReplayBuffer with 0 transitions, does not keep action masks"):
        masked("discrete", replay_buffer_class=ReplayBuffer)


def test_gradient_steps_on_transitions_without_the_masks_that_the_environment_has(tmp_path: Any) -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions="discrete"), **FAST).learn(20)
    model.train(1, 16)
    model.save_replay_buffer(tmp_path / "buffer")
    model.set_env(MaskedEnv(actions="discrete"))
    other = masked("discrete")
    other.load_replay_buffer(tmp_path / "buffer")
    for each in (model, other):
        with pytest.raises(ValueError, match="DeviceReplayBuffer with 20 transitions, does not keep action masks"):
            each.train(1, 16)


def test_going_on_in_other_environments() -> None:
    model = masked("discrete").learn(40)
    model.set_env(RandomEnv(actions="discrete"))
    model.learn(40, reset_num_timesteps=False)
    assert model.replay_buffer.storage.stored("action_masks")[45:80].all()
    model = SoftAC("MlpPolicy", RandomEnv(actions="discrete"), **FAST).learn(10)
    model.set_env(MaskedEnv(actions="discrete"))
    with pytest.raises(ValueError, match="DeviceReplayBuffer with 10 transitions, does not keep action masks"):
        model.learn(10)
    model.replay_buffer = None  # as the error says
    model.learn(40)
    assert model.replay_buffer.sample(4).action_masks.shape == (4, 4)


def test_masks_survive_saving_and_loading(tmp_path: Any) -> None:
    model = masked("discrete").learn(60)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded = SoftAC.load(tmp_path / "model")  # an environment comes later
    loaded.set_env(MaskedEnv(actions="discrete"))
    loaded.learn(40)
    loaded.load_replay_buffer(tmp_path / "buffer")
    for name in ("action_masks", "next_action_masks"):
        before, after = (each.replay_buffer.storage.stored(name)[:60] for each in (model, loaded))
        np.testing.assert_array_equal(before, after)
    loaded.learn(40, reset_num_timesteps=False)


# ---------------------------------------------------------------- execution


@pytest.mark.filterwarnings("ignore:ent_coef is held")
@pytest.mark.parametrize("actions", ["discrete", "multidiscrete", "multibinary"])
def test_steps_with_masks_as_one_graph(monkeypatch: pytest.MonkeyPatch, actions: str) -> None:
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    eager, other = ready("eager", actions, env_class=MaskedEnv), ready("compile", actions, env_class=MaskedEnv)
    assert_close_models(train(eager), train(other))


@pytest.mark.slow
@pytest.mark.parametrize("actions", DISCRETE)
def test_compiled_steps_with_masks(actions: str) -> None:
    eager, other = ready("eager", actions, env_class=MaskedEnv), ready("compile", actions, env_class=MaskedEnv)
    assert_close_models(train(eager), train(other))


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

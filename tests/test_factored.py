"""MultiDiscrete and MultiBinary actions: joint, local and additive critics."""

import itertools
import math
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnv
from stable_baselines3.common.evaluation import evaluate_policy
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from sac_ext import SoftAC
from sac_ext.heads import make_head
from tests.catalogue import CRITICS, OBSERVATIONS, SMALL, RandomEnv, small_networks
from tests.oracles import Spaces, add, soft_ac, train_in_phases

ONE = np.ones(1, dtype=np.float32)
CONSTANT = spaces.Box(0, 1, (1,), np.float32)
MIXED = spaces.MultiDiscrete([2, 4, 3], start=[0, 5, -1])


def all_actions(space: spaces.MultiDiscrete) -> np.ndarray:
    return np.array(list(itertools.product(*map(range, space.nvec)))) + space.start


def entropy(probabilities: np.ndarray) -> float:
    return float(-(probabilities * np.log(probabilities)).sum())


# ---------------------------------------------------------------- exclusive or


def xor_model(critic: str, **kwargs: Any) -> tuple[SoftAC, np.ndarray, float]:
    """:return: a model, the probabilities of the four actions, and the soft value of its policy"""
    ent_coef = 0.25
    policy_kwargs = {"net_arch": {"pi": [], "qf": [16]}, "critic": critic}
    model = soft_ac(
        Spaces(CONSTANT, spaces.MultiDiscrete([2, 2])), gamma=0.0, ent_coef=ent_coef, policy_kwargs=policy_kwargs
    )
    for first, second in itertools.product(range(2), repeat=2):
        add(model, ONE, [first, second], float(first != second), ONE, done=True)
    with th.no_grad():
        model.actor.logits.bias += (
            th.randn(model.actor.logits.bias.shape) * 0.1
        )  # which of two optima is left to chance
    train_in_phases(model, {0.03: 600, 0.003: 400}, batch_size=64)
    with th.no_grad():
        probs = model.head.pi(model.actor, th.ones(1, 1)).probs[0].numpy()
    joint = probs[0] if critic == "joint" else np.outer(*probs).flatten()
    return model, joint, joint[1] + joint[2] + ent_coef * entropy(joint)


def test_xor_joint() -> None:
    _, probabilities, value = xor_model("joint")
    np.testing.assert_allclose(probabilities[[1, 2]], 0.49101, atol=0.01)
    assert value == pytest.approx(1.17782, abs=0.01)


def test_xor_local() -> None:
    """The best product of two policies chooses one of the two good actions."""
    _, probabilities, value = xor_model("local")
    assert math.sqrt(probabilities.max()) == pytest.approx(0.978752, abs=0.01)
    assert value == pytest.approx(1.009836, abs=0.01)


def test_xor_additive() -> None:
    """A sum over components cannot see it, and stays at the uniform policy's value."""
    _, _, value = xor_model("additive")
    assert value == pytest.approx(0.846574, abs=0.01)


# ---------------------------------------------------------------- values and gradients


@pytest.mark.parametrize("local_components", [None, 1, 2])
@pytest.mark.parametrize("sizes", [(4, 4, 4), (2, 5, 3)])
def test_the_local_expectation_gradient_is_unbiased(sizes: tuple[int, ...], local_components: int | None) -> None:
    """Against the gradient of the sum over all joint actions of a random table, which finite differences confirm."""
    th.manual_seed(0)
    table, n = th.randn(sizes), 20_000
    head = make_head(spaces.MultiDiscrete(sizes), critic="local", local_components=local_components)
    components = head.code.components

    class Table:
        def features(self, obs: th.Tensor) -> th.Tensor:
            return obs

        def with_one_changed(self, features: th.Tensor, index: th.Tensor, positions: th.Tensor) -> th.Tensor:
            values = []
            for position in positions.tolist():
                component = int(components.component[position])
                changed = index.clone()
                changed[:, component] = position - int(components.first[component])
                values.append(table[tuple(changed.T)])
            return th.stack(values, dim=1)[None]

    logits = th.randn(sum(sizes))

    def expectation(flat: th.Tensor) -> th.Tensor:
        probs = [part.softmax(0) for part in flat.split(sizes)]
        return th.einsum("ijk,i,j,k", table, *probs)

    exact = th.autograd.functional.jacobian(expectation, logits)
    epsilon = 1e-2 * th.eye(len(logits))
    differences = th.stack([(expectation(logits + e) - expectation(logits - e)) / 2e-2 for e in epsilon])
    assert_close(exact, differences, atol=1e-3, rtol=0.01)

    per_row = logits.repeat(n, 1).requires_grad_()

    class Actor:
        def log_probs(self, obs: th.Tensor, action_masks: None) -> th.Tensor:
            return components.log_probs(per_row)

    repeats = 8 if local_components else 1  # each chooses components once for all its rows
    gradients, values = [], []
    for _ in range(repeats):
        pi = head.pi(Actor(), th.zeros(n, 1))
        q = head.expected_q(pi, Table(), th.zeros(n, 1), lambda q: q.mean(dim=0))
        gradients.append(th.autograd.grad(q.sum(), per_row)[0])
        values.append(q.detach())
    if local_components is None:
        samples = gradients[0]
        z = (samples.mean(0) - exact) / (samples.std(0) / math.sqrt(n) + 1e-9)
        assert z.abs().max() <= 4
        deviation = values[0].std() / math.sqrt(n)
        assert (values[0].mean() - expectation(logits)).abs() <= 4 * deviation
        return
    # given the components, the estimate of theirs is K / m times the exact gradient, and 0 for the others
    for gradient in gradients:
        mean, seen = gradient.mean(0), gradient.abs().sum(0) > 0
        assert seen.sum() in [sum(some) for some in itertools.combinations(sizes, local_components)]
        z = (mean * local_components / len(sizes) - exact)[seen] / (gradient.std(0)[seen] / math.sqrt(n))
        assert z.abs().max() <= 4.5


def test_every_component_is_chosen_equally_often() -> None:
    head = make_head(spaces.MultiDiscrete([2, 5, 3, 3]), critic="local", local_components=2)
    counts = np.zeros(4)
    for _ in range(2000):
        rows, _, positions = head._alternatives()
        assert len(rows) == 2 * 5
        np.testing.assert_array_equal(head.code.components.component[positions], rows)
        chosen = sorted(set(rows.tolist()))
        assert len(chosen) == 2
        counts[chosen] += 1
    np.testing.assert_allclose(counts / 2000, 0.5, atol=0.05)


def model_of(space: spaces.Space, critic: str, net_arch: Any = (16,), **kwargs: Any) -> SoftAC:
    policy_kwargs = {"net_arch": list(net_arch), "critic": critic} | kwargs
    return soft_ac(Spaces(spaces.Box(-1, 1, (3,), np.float32), space), policy_kwargs=policy_kwargs)


@pytest.mark.parametrize("net_arch", [(), (16,), (16, 8)])
def test_values_with_one_component_changed_are_those_of_the_changed_action(net_arch: tuple[int, ...]) -> None:
    model = model_of(MIXED, "local", net_arch)
    components, critic = model.head.code.components, model.critic
    obs = th.randn(5, 3)
    index = model.head.code.encode(th.as_tensor(np.array([MIXED.sample() for _ in range(5)])))
    positions = th.arange(components.n_values)
    values = critic.with_one_changed(critic.features(obs), index, positions)
    assert values.shape == (2, 5, 9)
    for position in positions.tolist():
        component = int(components.component[position])
        changed = index.clone()
        changed[:, component] = position - int(components.first[component])
        expected = th.stack(critic(obs, components.one_hot(changed))).squeeze(-1)
        assert_close(values[:, :, position], expected)
    assert not values.requires_grad


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("reduction", ["min", "mean"])
def test_expectations_are_sums_over_all_joint_actions(critic: str, reduction: str) -> None:
    model = model_of(MIXED, critic, n_critics=3)
    actions = all_actions(MIXED)
    obs = th.randn(1, 3)
    with th.no_grad():
        many = th.as_tensor(actions)
        q = model.head.q_taken(model.critic, obs.expand(len(many), -1), many)  # (C, N)
        pi = model.head.pi(model.actor, obs)
        index = model.head.code.encode(many)
        probs = pi.log_probs[0][range(index.shape[1]), index].sum(dim=1).exp()  # (N,)
    assert probs.sum().item() == pytest.approx(1)
    assert pi.entropy.item() == pytest.approx(entropy(probs.numpy()), rel=1e-5)
    reduce = {"min": lambda q: q.min(dim=0).values, "mean": lambda q: q.mean(dim=0)}[reduction]
    expected = (probs * reduce(q)).sum() if critic != "additive" else reduce(q @ probs)
    n = 1 if critic != "local" else 6000  # more rows than go through the critics at once
    many_pi = model.head.pi(model.actor, obs.expand(n, -1))
    values = model.head.expected_q(many_pi, model.critic, obs.expand(n, -1), reduce).detach()
    with th.no_grad():
        next_values = model.head.next_q(many_pi, model.critic, obs.expand(n, -1), reduce)
    for estimates in (values, next_values):
        deviation = 0.0 if n == 1 else float(estimates.std()) / math.sqrt(n)
        assert estimates.mean().item() == pytest.approx(expected.item(), abs=1e-5 + 4 * deviation)


def test_the_value_estimated_from_some_components_is_that_of_all() -> None:
    model = model_of(MIXED, "local", local_components=1)
    obs = th.randn(1, 3).expand(3000, -1)
    reduce = lambda q: q.min(dim=0).values  # noqa: E731
    with th.no_grad():
        pi = model.head.pi(model.actor, obs)
        one_action = model.head.next_q(pi, model.critic, obs, reduce)
    with th.enable_grad():
        values = th.cat([model.head.expected_q(pi, model.critic, obs, reduce).detach() for _ in range(6)])
    deviation = (one_action.std() / math.sqrt(3000) + values.std() / math.sqrt(len(values))).item()
    assert values.mean().item() == pytest.approx(one_action.mean().item(), abs=4 * deviation)


@pytest.mark.parametrize("at_once", [1, 7, 10**9])
def test_how_many_rows_go_through_the_critics_at_once_makes_no_difference(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, obs = model_of(MIXED, "local", net_arch=(16, 8)), th.randn(5, 3)
    second_layer, rows_seen, results = model.critic.q_networks[0][2], [], []
    second_layer.register_forward_hook(lambda layer, inputs, outputs: rows_seen.append(outputs[..., 0].numel()))
    for rows in (16_384, at_once):
        monkeypatch.setattr("sac_ext.networks.ROWS_AT_ONCE", rows)
        rows_seen.clear()
        th.manual_seed(0)
        pi = model.head.pi(model.actor, obs)
        results.append(model.head.expected_q(pi, model.critic, obs, lambda q: q.mean(dim=0)))
    assert_close(*results)
    assert max(rows_seen) <= max(at_once, 5)
    assert sum(rows_seen) == 5 * 9


def floating_point_operations(n_components: int, options: dict[str, Any]) -> int:
    """Of the matrix products of a gradient step with 32 transitions."""
    model = model_of(spaces.MultiDiscrete([8] * n_components), net_arch=(32, 32), **options)
    for _ in range(40):
        obs, action = np.zeros((1, 3), dtype=np.float32), model.action_space.sample()[None]
        model.replay_buffer.add(obs, obs, action, np.zeros(1), np.zeros(1), [{}])
    model.train(1, 32)
    with FlopCounterMode(display=False) as counter:
        model.train(1, 32)
    return int(counter.get_total_flops())


@pytest.mark.parametrize(
    "options",
    [{"critic": "local"}, {"critic": "local", "local_components": 2}, {"critic": "additive"}],
    ids=["local", "local of two", "additive"],
)
def test_the_work_grows_linearly_with_the_components(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    """Also where they go through the critics in many parts."""
    monkeypatch.setattr("sac_ext.networks.ROWS_AT_ONCE", 256)
    at_8, at_16, at_32 = (floating_point_operations(n, options) for n in (8, 16, 32))
    assert at_32 - at_16 == 2 * (at_16 - at_8) > 0


class LargestResult(TorchDispatchMode):
    """Finds the largest tensor that an operation makes."""

    numel = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **kwargs or {})
        if isinstance(result, th.Tensor):
            self.numel = max(self.numel, result.numel())
        return result


@pytest.mark.parametrize("local_components", [None, 2])
def test_what_goes_through_the_critics_at_once_is_bounded(
    local_components: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many components there are."""
    monkeypatch.setattr("sac_ext.networks.ROWS_AT_ONCE", 64)
    model = model_of(spaces.MultiDiscrete([2] * 100), "local", net_arch=(32,), local_components=local_components)
    obs = th.randn(4, 3)
    pi = model.head.pi(model.actor, obs)
    with LargestResult() as largest, th.no_grad():
        model.head.expected_q(pi, model.critic, obs, lambda q: q.mean(dim=0))
    weights = 32 * (3 + 200)
    assert largest.numel <= max(64 * 32, weights)


def test_the_additive_critic_is_a_sum() -> None:
    model = model_of(MIXED, "additive")
    actions, obs = all_actions(MIXED), th.randn(1, 3)
    with th.no_grad():
        q = model.head.q_taken(model.critic, obs.expand(len(actions), -1), th.as_tensor(actions))[0]
    table = q.reshape(*MIXED.nvec)
    for axis in range(3):
        steps = table.diff(dim=axis)
        assert_close(
            steps, steps.mean(dim=[other for other in range(3) if other != axis], keepdim=True).expand_as(steps)
        )


@pytest.mark.parametrize("space", [MIXED, spaces.MultiBinary(4), spaces.Discrete(5, start=3)], ids=str)
@pytest.mark.parametrize("critic", CRITICS)
def test_actions_are_numbered_there_and_back(space: spaces.Space, critic: str) -> None:
    code = make_head(space, critic=critic).code
    actions = th.as_tensor(np.array([space.sample() for _ in range(40)])).long()
    decoded = code.decode(code.encode(actions.reshape(40, -1)))
    assert th.equal(decoded, actions)
    assert decoded.dtype == th.int64


def test_automatic_critics() -> None:
    for sizes, expected in (([8, 8, 8], "Joint"), ([8, 8, 9], "Local"), ([8] * 16, "Local"), ([2] * 9, "Joint")):
        assert type(make_head(spaces.MultiDiscrete(sizes))).__name__ == f"{expected}Head"
    assert type(make_head(spaces.Discrete(100_000))).__name__ == "JointHead"  # one component has nothing to sum over
    assert type(make_head(spaces.Discrete(100_000), critic="joint")).__name__ == "JointHead"
    assert type(make_head(spaces.MultiBinary(10))).__name__ == "LocalHead"


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("space", "options", "match"),
    [
        (spaces.MultiDiscrete([8] * 16), {"critic": "joint"}, "would need 281474976710656 outputs.*critic='local'"),
        (spaces.MultiDiscrete([2, 2]), {"critic": "both"}, "must be one of 'auto', 'joint', 'local', 'additive'"),
        (spaces.Box(-1, 1, (2,)), {"critic": "joint"}, "critic='joint' is for discrete actions, but .* Box"),
        (spaces.Box(-1, 1, (2,)), {"local_components": 2}, "local_components=2 is for discrete actions"),
        (
            spaces.MultiDiscrete([2, 2]),
            {"local_components": 2},
            "is for critic='local', but the critic of .* is 'joint'",
        ),
        (spaces.MultiBinary(12), {"local_components": 13}, "must be at most 12"),
        (spaces.MultiBinary(12), {"local_components": 0}, "must be >= 1"),
    ],
)
def test_bad_options(space: spaces.Space, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        soft_ac(Spaces(CONSTANT, space), policy_kwargs=SMALL | options)


@pytest.mark.parametrize("space", [spaces.MultiDiscrete([[2, 3], [2, 3]]), spaces.MultiBinary([2, 3])], ids=str)
def test_actions_of_two_dimensions_are_refused(space: spaces.Space) -> None:
    with pytest.raises(TypeError, match="flatten it to one dimension"):
        soft_ac(Spaces(CONSTANT, space))


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("observations", OBSERVATIONS)
def test_every_critic_trains_on_every_observation(critic: str, observations: str) -> None:
    policy = OBSERVATIONS[observations][1]
    policy_kwargs = small_networks(observations) | {"critic": critic}
    env = RandomEnv(observations, "multidiscrete")
    model = SoftAC(policy, env, seed=0, learning_starts=20, batch_size=16, buffer_size=500, policy_kwargs=policy_kwargs)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(60)
    after = model.policy.state_dict()
    assert all(th.isfinite(value).all() for value in after.values())
    for network in ("actor", "critic", "critic_target"):
        assert any(not th.equal(before[name], after[name]) for name in before if name.startswith(f"{network}."))


@pytest.mark.parametrize("critic", CRITICS)
def test_saved_models_keep_their_critics(critic: str, tmp_path: Any) -> None:
    env = RandomEnv(actions="multidiscrete")
    model = SoftAC("MlpPolicy", env, seed=0, learning_starts=10, policy_kwargs=SMALL | {"critic": critic}).learn(20)
    model.save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=env)
    assert type(loaded.head) is type(model.head)
    obs = np.array([env.observation_space.sample() for _ in range(20)])
    np.testing.assert_array_equal(*(each.predict(obs, deterministic=True)[0] for each in (model, loaded)))
    loaded.learn(20)
    model.policy.save(tmp_path / "policy")
    policy = type(model.policy).load(tmp_path / "policy")
    np.testing.assert_array_equal(*(each.predict(obs, deterministic=True)[0] for each in (model, policy)))


LARGE = [spaces.MultiDiscrete([8] * 16), spaces.MultiBinary(64)]


@pytest.mark.parametrize("space", LARGE, ids=str)
@pytest.mark.parametrize("options", [{}, {"local_components": 3}, {"critic": "additive"}])
def test_large_spaces_train(space: spaces.Space, options: dict[str, Any]) -> None:
    class Large(RandomEnv):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = space

    model = SoftAC("MlpPolicy", Large(), seed=0, learning_starts=20, batch_size=32, policy_kwargs=SMALL | options)
    model.learn(30)
    assert all(th.isfinite(value).all() for value in model.policy.state_dict().values())
    assert model.head.max_entropy == pytest.approx(16 * math.log(8) if space is LARGE[0] else 64 * math.log(2))


MEMORY_SCRIPT = """
import resource, sys
import gymnasium as gym, numpy as np, torch as th
from gymnasium import spaces
from sac_ext import SoftAC

th.set_num_threads(1)

class Large(gym.Env):
    observation_space = spaces.Box(-1, 1, (17,), np.float32)
    action_space = {"MultiDiscrete": spaces.MultiDiscrete([8] * 16), "MultiBinary": spaces.MultiBinary(64)}[sys.argv[1]]

    def reset(self, *, seed=None, options=None):
        return np.zeros(17, np.float32), {}

    def step(self, action):
        return np.zeros(17, np.float32), 0.0, False, False, {}

SoftAC("MlpPolicy", Large(), device="cpu", learning_starts=20).learn(25)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of the peak is another one elsewhere")
@pytest.mark.parametrize("space", ["MultiDiscrete", "MultiBinary"])
def test_large_spaces_train_within_2_gb(space: str) -> None:
    """At the defaults, the replay buffer of a million transitions included as far as it is filled."""
    command = [sys.executable, "-c", MEMORY_SCRIPT, space]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(result.stdout) < 2 * 2**20  # kB


IDENTITY = {"multidiscrete": spaces.MultiDiscrete([3, 3]), "multibinary": spaces.MultiBinary(4)}


@pytest.mark.parametrize("space", ["multibinary", pytest.param("multidiscrete", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "critic", ["local", *(pytest.param(each, marks=pytest.mark.slow) for each in ("joint", "additive"))]
)
def test_learns_the_identity_environment(space: str, critic: str) -> None:
    env = make_vec_env(partial(IdentityEnv, ep_length=100), n_envs=1, env_kwargs={"space": IDENTITY[space]})
    env.seed(0)
    model = SoftAC(
        "MlpPolicy",
        env,
        seed=0,
        learning_rate=1e-2,
        gamma=0.0,
        batch_size=64,
        train_freq=2,
        policy_kwargs={"net_arch": [32], "critic": critic},
    )
    model.learn(3000)
    mean, _ = evaluate_policy(model, env, n_eval_episodes=10)
    assert mean >= 90

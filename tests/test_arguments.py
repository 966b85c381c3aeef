"""Learning rates, schedules and what is refused at the door."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.sac.policies import SACPolicy
from torch import nn

from sac_ext import DeviceReplayBuffer, SoftAC
from sac_ext.arguments import parse_schedule
from sac_ext.temperature import LearnedEntCoef, parse_ent_coef
from tests.catalogue import SMALL, RandomEnv


def make(actions: str = "box", policy: Any = "MlpPolicy", **kwargs: Any) -> SoftAC:
    return SoftAC(policy, RandomEnv(actions=actions), **{"policy_kwargs": SMALL, "learning_starts": 10} | kwargs)


@pytest.mark.parametrize(
    ("value", "at_start", "halfway"),
    [
        (3e-4, 3e-4, 3e-4),
        (0, 0.0, 0.0),
        (np.float32(0.5), 0.5, 0.5),
        ("3e-4", 3e-4, 3e-4),
        ("lin_1e-3", 1e-3, 5e-4),
        (lambda progress: progress**2, 1.0, 0.25),
        (LinearSchedule(1.0, 0.0, 0.5), 1.0, 0.0),
    ],
)
def test_schedules(value: Any, at_start: float, halfway: float) -> None:
    schedule = parse_schedule("learning_rate", value)
    assert schedule(1.0) == pytest.approx(at_start)
    assert schedule(0.5) == pytest.approx(halfway, abs=1e-12)


@given(st.one_of(st.text(), st.floats(), st.text().map("lin_{}".format), st.text().map("auto_{}".format)))
def test_any_spec_parses_or_is_a_value_error(value: Any) -> None:
    for parse in (lambda: parse_schedule("x", value), lambda: parse_ent_coef(value, 1.0)):
        try:
            parsed = parse()
        except ValueError:
            continue
        number = parsed.initial_value if isinstance(parsed, LearnedEntCoef) else parsed(1.0)
        assert math.isfinite(number)
        assert number >= 0


def test_learning_rates_are_separate() -> None:
    model = make(
        learning_rate=1e-3,
        actor_learning_rate="lin_4e-4",
        ent_coef_learning_rate=lambda progress: 2e-3 * progress,
        seed=0,
    )
    rates = [model.actor.optimizer, model.critic.optimizer, model.ent_coef_optimizer]
    assert [optimizer.param_groups[0]["lr"] for optimizer in rates] == pytest.approx([4e-4, 1e-3, 2e-3])
    model.learn(20, log_interval=1000)
    model._current_progress_remaining = 0.5
    model.train(gradient_steps=1, batch_size=8)
    assert [optimizer.param_groups[0]["lr"] for optimizer in rates] == pytest.approx([2e-4, 1e-3, 1e-3])
    logged = model.logger.name_to_value
    assert logged["train/learning_rate"] == 1e-3
    assert logged["train/actor_learning_rate"] == pytest.approx(2e-4)
    assert logged["train/ent_coef_learning_rate"] == pytest.approx(1e-3)
    assert "train/critic_learning_rate" not in logged


def test_numbers_that_yaml_gives_as_strings() -> None:
    model = make(tau="1e-2", gamma="9e-1", entropy_in_critic="5e-1", max_grad_norm="1e1").learn(20)
    assert (model.tau, model.gamma) == (0.01, 0.9)


def test_one_learning_rate_as_a_linear_string() -> None:
    model = make(learning_rate="lin_1e-3").learn(20, log_interval=1000)
    assert model.logger.name_to_value["train/learning_rate"] == pytest.approx(0.0, abs=1e-12)
    assert model.learning_rate == "lin_1e-3"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"learning_rate": -1e-3}, "learning_rate must be >= 0, got -0.001"),
        ({"actor_learning_rate": -1e-3}, "actor_learning_rate must be >= 0"),
        ({"critic_learning_rate": "lin_-1"}, "critic_learning_rate must be >= 0"),
        ({"critic_learning_rate": "lin_x"}, "function of the progress remaining, got 'lin_x'"),
        ({"learning_rate": lambda progress: -progress}, r"learning_rate \(at progress_remaining=1\) must be >= 0"),
        ({"target_entropy": {"kind": "auto"}}, "'auto' is not a kind and takes no number"),
        ({"ent_coef_bounds": {0.1, 0.2}}, r"pair \(low, high\)"),
        ({"execution": ["eager"]}, "execution must be one of"),
        ({"critic_reduction": np.array(["min"])}, "critic_reduction must be one of"),
        ({"buffer_size": 0}, "buffer_size must be >= 1"),
        ({"n_steps": 0}, "n_steps must be >= 1"),
        ({"target_entropy": "nonsense", "buffer_size": 10**14}, "target_entropy 'nonsense'"),  # before allocating
        ({"actor_learning_rate": -1, "buffer_size": 10**14}, "actor_learning_rate must be"),
        ({"critic_learning_rate": "linear"}, "must be a number, 'lin_<number>' or a function"),
        ({"ent_coef_learning_rate": math.nan}, "ent_coef_learning_rate must be finite"),
        ({"actor_learning_rate": lambda _: -1.0}, "actor_learning_rate .*must be >= 0, got -1.0"),
        ({"ent_coef": 0.1, "ent_coef_learning_rate": 1e-3}, "needs a learned coefficient"),
        ({"ent_coef": -0.1}, "ent_coef must be >= 0"),
        ({"ent_coef": "auto_0"}, "initial value in ent_coef must be greater than 0"),
        ({"ent_coef": "auto_"}, "'auto_<initial value>'"),
        ({"ent_coef": "automatic"}, "'auto_<initial value>'"),
        ({"ent_coef": "some"}, "ent_coef must be a number"),
        ({"ent_coef_bounds": (2.0, 0.5)}, "low < high"),
        ({"ent_coef_bounds": (0.5, 0.5)}, "low < high"),
        ({"ent_coef_bounds": (-1.0, 0.5)}, "lower bound in ent_coef_bounds must be >= 0"),
        ({"ent_coef_bounds": 0.5}, r"pair \(low, high\)"),
        (
            {"ent_coef": "auto_1", "ent_coef_bounds": (0.1, 0.5)},
            r"starts at 1, outside of ent_coef_bounds \(0.1, 0.5\)",
        ),
        ({"ent_coef_bounds": (0.1, 0.5), "ent_coef": 0.2}, "is for a learned coefficient"),
        ({"policy_delay": 0}, "policy_delay must be >= 1, got 0"),
        ({"entropy_in_critic": 1.5}, "entropy_in_critic must be between 0 and 1, got 1.5"),
        ({"entropy_in_critic": -0.1}, "entropy_in_critic must be between 0 and 1"),
        ({"critic_reduction": "max"}, "critic_reduction must be one of 'min', 'mean', got 'max'"),
        ({"max_grad_norm": 0}, "max_grad_norm must be greater than 0"),
        ({"execution": "jit"}, "execution must be one of 'auto', 'eager', 'compile', 'cuda_graph', got 'jit'"),
        ({"tau": 1.5}, "tau must be between 0 and 1"),
        ({"gamma": -0.1}, "gamma must be between 0 and 1"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"gradient_steps": -2}, "gradient_steps must be >= -1"),
        ({"target_update_interval": 0}, "target_update_interval must be >= 1"),
    ],
)
def test_values_out_of_range(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


def test_a_start_outside_of_the_bounds_that_discrete_actions_have_by_default() -> None:
    with pytest.raises(
        ValueError, match=r"'auto_20' starts at 20, outside of the default ent_coef_bounds \(0.0001, 10\)"
    ):
        SoftAC("MlpPolicy", RandomEnv(actions="discrete"), ent_coef="auto_20")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("policy_delay", 0, "policy_delay must be >= 1, got 0"),
        ("critic_reduction", "max", "critic_reduction must be one of"),
        ("entropy_in_critic", 5.0, "entropy_in_critic must be between 0 and 1"),
        ("precision", "low", "precision must be one of"),
        ("learning_starts", -5, "learning_starts must be >= 0"),
    ],
)
def test_values_set_on_the_model_are_looked_at_when_training_starts(name: str, value: Any, message: str) -> None:
    model = make()
    setattr(model, name, value)
    with pytest.raises(ValueError, match=message):
        model.learn(10)


def test_a_number_of_steps_as_yaml_reads_it() -> None:
    assert make(learning_starts="1e1").learn(15)._n_updates == 5


def test_random_actions_set_on_the_model_take_effect() -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions="discrete"), learning_starts=5).learn(10)
    model.exploration_eps = 0.5
    model.learn(10, reset_num_timesteps=False)
    assert model.logger.name_to_value["rollout/exploration_rate"] == 0.5


@pytest.mark.parametrize(
    "kwargs",
    [
        {"learning_starts": None},
        {"policy_delay": 1.5},
        {"policy_delay": True},
        {"actor_learning_rate": []},
        {"learning_rate": None},
        {"ent_coef": None},
        {"learning_rate": lambda _: None},
        {"actor_learning_rate": lambda _: "fast"},
    ],
)
def test_values_of_a_wrong_type(kwargs: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(kwargs))):
        make(**kwargs)


def test_a_schedule_that_turns_negative_stops_training_before_the_step() -> None:
    model = make(actor_learning_rate=lambda progress: progress - 0.5, seed=0)
    with pytest.raises(ValueError, match=r"actor_learning_rate \(at progress_remaining=0\.4"):
        model.learn(100)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    with pytest.raises(ValueError, match="actor_learning_rate"):
        model.train(gradient_steps=1, batch_size=8)
    assert all((before[name] == value).all() for name, value in model.policy.state_dict().items())


class OtherSpaceEnv(RandomEnv):
    def __init__(self, action_space: spaces.Space | None = None, observation_space: spaces.Space | None = None) -> None:
        super().__init__()
        self.action_space = action_space or self.action_space
        self.observation_space = observation_space or self.observation_space


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple((spaces.Discrete(2), spaces.Discrete(3))),
        spaces.Dict({"a": spaces.Discrete(2)}),
        spaces.Text(3),
    ],
    ids=lambda space: type(space).__name__,
)
def test_unsupported_action_spaces_name_what_is_supported(space: spaces.Space) -> None:
    with pytest.raises(TypeError, match="supported are Box, Discrete, MultiBinary, MultiDiscrete") as error:
        SoftAC("MlpPolicy", OtherSpaceEnv(space))
    assert str(space) in str(error.value)


NUMBERS = spaces.Box(-1, 1, (2,))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple((NUMBERS, spaces.Discrete(3))),
        spaces.Text(3),
        spaces.Dict({"a": NUMBERS, "b": spaces.Dict({"c": NUMBERS})}),
    ],
    ids=["tuple", "text", "nested dict"],
)
def test_unsupported_observation_spaces_name_what_is_supported(space: spaces.Space) -> None:
    with pytest.raises(TypeError, match=r"supported are Box, .*gymnasium\.ObservationWrapper") as error:
        DeviceReplayBuffer(10, space, spaces.Discrete(2))
    assert str(space) in str(error.value)


def test_tuple_observations_are_refused_before_anything_is_built() -> None:
    with pytest.raises(TypeError, match=r"does not support the observation space Tuple"):
        SoftAC("MlpPolicy", OtherSpaceEnv(observation_space=spaces.Tuple((NUMBERS, spaces.Discrete(3)))))


def test_a_single_action_leaves_nothing_to_learn() -> None:
    with pytest.raises(ValueError, match=r"with a single action, .* entropy is always 0 .*: use a fixed ent_coef"):
        SoftAC("MlpPolicy", OtherSpaceEnv(spaces.Discrete(1)))
    SoftAC("MlpPolicy", OtherSpaceEnv(spaces.Discrete(1)), ent_coef=0.1, policy_kwargs=SMALL)


@pytest.mark.parametrize("actions", ["box", "discrete"])
def test_no_critics(actions: str) -> None:
    with pytest.raises(ValueError, match="policy_kwargs n_critics must be >= 1, got 0"):
        make(actions, policy_kwargs=SMALL | {"n_critics": 0})


def test_action_noise_on_discrete_actions() -> None:
    with pytest.raises(ValueError, match="action_noise is added to continuous actions"):
        make("discrete", action_noise=NormalActionNoise(np.zeros(1), np.ones(1)))


@pytest.mark.parametrize("option", [{"log_std_init": -2}, {"use_expln": True}, {"clip_mean": 1.0}])
def test_options_of_a_gaussian_policy_on_discrete_actions(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="applies only to Gaussian policies"):
        make("discrete", policy_kwargs=SMALL | option)


def test_sb3s_own_policy_works_on_box_and_is_refused_on_discrete() -> None:
    make(policy=SACPolicy).learn(20)
    with pytest.raises(TypeError, match=r"needs a CategoricalActor: derive the policy from sac_ext\.MlpPolicy"):
        make("discrete", policy=SACPolicy)
    with pytest.raises(TypeError, match="ActorCriticPolicy has an actor of type NoneType"):
        make("discrete", policy=ActorCriticPolicy)


def test_an_sb3_policy_may_call_something_of_its_own_head() -> None:
    class Headed(SACPolicy):
        def _build(self, lr_schedule: Any) -> None:
            self.head = nn.Linear(1, 1)
            super()._build(lr_schedule)

    make(policy=Headed).learn(20)


def test_unknown_policy_and_environment() -> None:
    with pytest.raises(ValueError, match="Policy MlpPolic unknown"):
        make(policy="MlpPolic")
    with pytest.raises(gym.error.NameNotFound):
        SoftAC("MlpPolicy", "NoSuchEnv-v0")


def test_dict_observations_need_the_multi_input_policy() -> None:
    with pytest.raises(ValueError, match="must use `MultiInputPolicy`"):
        SoftAC("MlpPolicy", RandomEnv("dict"))


def test_execution_may_be_set_on_the_model() -> None:
    model = make()
    model.execution = "cuda_graph"
    model.learn(5)
    assert model._run_step.name == "cuda_graph"
    model.execution = "eager"
    model.learn(5)
    assert not hasattr(model._run_step, "name")


def test_coefficients_for_components_cannot_be_set_on_the_model() -> None:
    model = make("multidiscrete", policy_kwargs=SMALL | {"critic": "additive"})
    model.per_component = True
    with pytest.raises(
        ValueError, match="per_component was set to True on a model with one coefficient for the whole action: pass it"
    ):
        model.learn(20)

"""Files cross between SAC and SoftAC, and every save and load function works on every action space."""

import inspect
import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv

from sac_ext import FractionTarget, MlpPolicy, SoftAC
from tests.catalogue import ACTIONS, SMALL, RandomEnv
from tests.compare import assert_equal, assert_same_models

KWARGS: dict[str, Any] = {
    "seed": 1,
    "device": "cpu",
    "learning_starts": 20,
    "batch_size": 16,
    "buffer_size": 500,
    "policy_kwargs": SMALL,
}


def trained(algorithm: type = SoftAC, actions: str = "box", steps: int = 60, **kwargs: Any) -> Any:
    return algorithm("MlpPolicy", RandomEnv(actions=actions), **KWARGS | kwargs).learn(steps)


def observation_batch() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (6, 3)).astype(np.float32)


def assert_same_predictions(left: Any, right: Any) -> None:
    expected, actual = (model.predict(observation_batch(), deterministic=True)[0] for model in (left, right))
    np.testing.assert_array_equal(expected, actual)


@pytest.mark.parametrize("writer", [SAC, SoftAC])
@pytest.mark.parametrize("options", [{}, {"ent_coef": 0.2}, {"use_sde": True}], ids=["learned", "fixed", "gsde"])
def test_a_file_crosses_over_and_trains_on_to_the_same_numbers(
    tmp_path: Path, writer: type, options: dict[str, Any]
) -> None:
    written = trained(writer, **options, replay_buffer_class=ReplayBuffer)  # whose files SAC reads too
    written.save(tmp_path / "model")
    written.save_replay_buffer(tmp_path / "buffer")
    ends = []
    for reader in (SAC, SoftAC):
        assert_same_models(written, reader.load(tmp_path / "model.zip"))  # without an environment
        model = reader.load(tmp_path / "model.zip", env=RandomEnv(), device="cpu")
        assert_same_models(written, model)
        assert_same_predictions(written, model)
        model.load_replay_buffer(tmp_path / "buffer")
        model.set_random_seed(5)
        ends.append(model.learn(30, reset_num_timesteps=False))
    assert_same_models(*ends)
    assert ends[0]._n_updates == written._n_updates + 30


@pytest.mark.parametrize("actions", ACTIONS)
class TestEveryActionSpace:
    def test_save_load_train_on(self, tmp_path: Path, actions: str) -> None:
        model = trained(actions=actions)
        model.save(tmp_path / "model")
        loaded = SoftAC.load(tmp_path / "model", env=RandomEnv(actions=actions))
        assert_same_models(model, loaded)
        assert_same_predictions(model, loaded)
        loaded.learn(30, reset_num_timesteps=False)
        assert loaded.num_timesteps == 90

    def test_loading_equals_never_having_stopped(self, actions: str) -> None:
        model, file, buffer = trained(actions=actions), io.BytesIO(), io.BytesIO()
        model.save(file)
        model.save_replay_buffer(buffer)
        file.seek(0)
        buffer.seek(0)
        resumed = SoftAC.load(file)
        resumed.load_replay_buffer(buffer)
        for each in (model, resumed):
            each.set_random_seed(7)
            each._logger = model.logger
            each.train(gradient_steps=5, batch_size=16)
        assert_same_models(model, resumed)

    def test_without_an_environment(self, tmp_path: Path, actions: str) -> None:
        model = trained(actions=actions)
        model.save(tmp_path / "model")
        loaded = SoftAC.load(tmp_path / "model")
        assert loaded.env is None
        assert_same_predictions(model, loaded)
        with pytest.raises(AssertionError, match="environment"):
            loaded.learn(1)
        loaded.set_env(RandomEnv(actions=actions))
        loaded.learn(1)

    def test_get_and_set_parameters(self, tmp_path: Path, actions: str) -> None:
        model, other = trained(actions=actions), trained(actions=actions, steps=25)
        other.set_parameters(model.get_parameters())
        assert_equal(model.get_parameters(), other.get_parameters())
        model.save(tmp_path / "model")
        third = trained(actions=actions, steps=25)
        third.set_parameters(tmp_path / "model.zip")
        assert_same_predictions(model, third)
        with pytest.raises(ValueError, match="do not match"):
            other.set_parameters({"policy": model.policy.state_dict()}, exact_match=True)
        other.set_parameters({"policy": model.policy.state_dict()}, exact_match=False)

    def test_custom_objects(self, tmp_path: Path, actions: str) -> None:
        trained(actions=actions).save(tmp_path / "model")
        loaded = SoftAC.load(tmp_path / "model", custom_objects={"learning_rate": 0.0, "lr_schedule": lambda _: 0.0})
        assert loaded.actor.optimizer.param_groups[0]["lr"] == 3e-4  # as in SB3, the optimizer's own state wins
        assert loaded.lr_schedule(1.0) == 0.0

    def test_replay_buffer(self, tmp_path: Path, actions: str) -> None:
        model = trained(actions=actions)
        model.save_replay_buffer(tmp_path / "buffer")
        other = SoftAC("MlpPolicy", RandomEnv(actions=actions), **KWARGS)
        other.load_replay_buffer(tmp_path / "buffer")
        np.testing.assert_array_equal(other.replay_buffer.actions, model.replay_buffer.actions)
        other.learn(30)

    def test_policy_alone(self, tmp_path: Path, actions: str) -> None:
        model = trained(actions=actions)
        model.policy.save(str(tmp_path / "policy"))
        policy = MlpPolicy.load(str(tmp_path / "policy"))
        assert_same_predictions(model, policy)

    def test_actor_alone(self, tmp_path: Path, actions: str) -> None:
        model = trained(actions=actions)
        model.actor.save(str(tmp_path / "actor"))
        actor = type(model.actor).load(str(tmp_path / "actor"))
        assert_same_predictions(model, actor)

    def test_exclude_and_include(self, tmp_path: Path, actions: str) -> None:
        model = trained(actions=actions, learning_rate=1e-3)
        model.save(tmp_path / "model", exclude=["learning_rate"], include=["replay_buffer"])
        loaded = SoftAC.load(tmp_path / "model")
        assert loaded.learning_rate == 3e-4  # the constructor's
        np.testing.assert_array_equal(loaded.replay_buffer.rewards, model.replay_buffer.rewards)


@pytest.mark.filterwarnings("ignore:ent_coef of component")
def test_every_argument_survives(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "actor_learning_rate": "lin_1e-3",
        "critic_learning_rate": 2e-3,
        "ent_coef_learning_rate": 3e-3,
        "target_entropy": {"kind": "fraction", "rho": 0.7},
        "ent_coef": "auto_0.3",
        "ent_coef_bounds": (0.01, 2.0),
        "policy_delay": 2,
        "entropy_in_critic": 0.5,
        "critic_reduction": "min",
        "max_grad_norm": 0.5,
        "execution": "eager",
        "precision": "high",
        "q_clip": 0.5,
        "entropy_penalty": 0.1,
        "exploration_eps": 0.2,
        "per_component": True,
    }
    parameters = inspect.signature(SoftAC).parameters.items()
    new = {name for name, parameter in parameters if parameter.kind == inspect.Parameter.KEYWORD_ONLY}
    assert new <= given.keys()
    critic = {"policy_kwargs": SMALL | {"critic": "additive"}}
    trained(actions="multidiscrete", **critic, **given).save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model")
    for name, value in given.items():
        kept = getattr(loaded, name)
        assert kept == (list(value) if isinstance(value, tuple) else value), name  # JSON has no tuples
    assert [float(bound[0]) for bound in loaded._update.log_ent_coef_bounds] == pytest.approx(
        [math.log(0.01), math.log(2.0)]
    )
    assert loaded.temperature.target == FractionTarget(0.7)


def test_n_step_returns_are_set_up_again_on_load(tmp_path: Path) -> None:
    trained(n_steps=3).save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=RandomEnv(), gamma=0.5)
    assert (loaded.replay_buffer.n_steps, loaded.replay_buffer.gamma) == (3, 0.5)
    loaded.learn(30)


def test_a_target_object_survives(tmp_path: Path) -> None:
    trained(actions="discrete", target_entropy=FractionTarget(0.3)).save(tmp_path / "model")
    assert SoftAC.load(tmp_path / "model").target_entropy == FractionTarget(0.3)


def test_arguments_changed_on_load(tmp_path: Path) -> None:
    trained(actions="discrete").save(tmp_path / "model")
    loaded = SoftAC.load(
        tmp_path / "model",
        env=RandomEnv(actions="discrete"),
        actor_learning_rate="1e-4",
        target_entropy="fraction:0.9",
        policy_delay=3,
    )
    loaded.learn(30)
    assert loaded.actor.optimizer.param_groups[0]["lr"] == 1e-4
    assert loaded.critic.optimizer.param_groups[0]["lr"] == 3e-4
    assert loaded.logger.name_to_value["train/target_entropy"] == pytest.approx(0.9 * math.log(4))
    with pytest.raises(ValueError, match="policy_delay must be >= 1"):
        SoftAC.load(tmp_path / "model", policy_delay=0)


LEARNED, FIXED = {"ent_coef": "auto_0.2"}, {"ent_coef": 0.2}
BOUNDED = LEARNED | {"ent_coef_bounds": (0.1, 0.3), "ent_coef_learning_rate": 1e-3}


@pytest.mark.filterwarnings("ignore:ent_coef is held at its bound")
@pytest.mark.parametrize(
    ("written", "changes", "expected"),
    [
        (LEARNED, {"ent_coef": 0.05}, 0.05),
        (BOUNDED, {"ent_coef": 0.05}, 0.05),
        (FIXED, {"ent_coef": 0.05}, 0.05),
        (FIXED, {"ent_coef": "auto_0.4"}, 0.4),
        (FIXED, {"ent_coef": "auto_0.4", "ent_coef_bounds": (0.1, 1), "ent_coef_learning_rate": 1e-2}, 0.4),
        (LEARNED, {"ent_coef": "auto"}, None),
        (LEARNED, {"ent_coef": "auto_0.7"}, None),
        (LEARNED, {"target_entropy": -1.0}, None),
        (LEARNED, {"ent_coef_bounds": (0.01, 0.5)}, None),
        (LEARNED, {"ent_coef_bounds": (0.5, 2.0)}, 0.5),
        (LEARNED, {"ent_coef_bounds": (0.5, 2.0), "ent_coef": "auto"}, 0.5),
        (BOUNDED, {"ent_coef_bounds": (0.5, 2.0), "ent_coef": "auto"}, 0.5),
        (BOUNDED, {"ent_coef_bounds": None}, None),
    ],
)
def test_the_coefficient_changed_on_load(tmp_path: Path, written: dict, changes: dict, expected: float | None) -> None:
    """``expected`` is the coefficient after loading; None for the one in the file."""
    model = trained(**written)
    model.save(tmp_path / "written")
    loaded = SoftAC.load(tmp_path / "written", env=RandomEnv(), **changes)
    for name, value in changes.items():
        assert getattr(loaded, name) == value
    assert coefficient(loaded) == pytest.approx(coefficient(model) if expected is None else expected)
    if expected is None:
        assert_equal(model.ent_coef_optimizer.state_dict()["state"], loaded.ent_coef_optimizer.state_dict()["state"])
    if "ent_coef_learning_rate" in changes:
        assert loaded.ent_coef_optimizer.param_groups[0]["lr"] == changes["ent_coef_learning_rate"]
    loaded.learn(30)
    loaded.save(tmp_path / "again")
    assert_no_pickled_tensors(loaded)
    again = SoftAC.load(tmp_path / "again")
    assert_same_models(loaded, again)


def coefficient(model: SoftAC) -> float:
    if model.log_ent_coef is None:
        return model.ent_coef_tensor.item()
    return model.log_ent_coef.detach().exp().item()


@pytest.mark.parametrize(
    ("written", "changes", "message"),
    [
        (
            LEARNED,
            {"ent_coef_bounds": (0.5, 2.0), "ent_coef": "auto_0.2"},
            "starts at 0.2, outside .*or ent_coef='auto'",
        ),
        (FIXED, {"ent_coef_bounds": (0.1, 1.0)}, "is for a learned coefficient"),
        (FIXED, {"ent_coef_learning_rate": 1e-3}, "needs a learned coefficient"),
        (LEARNED, {"ent_coef": -1.0}, "must be >= 0"),
        (LEARNED, {"target_entropy": "fraction:0.5"}, "per_dim"),
    ],
)
def test_changes_on_load_that_do_not_go_together(tmp_path: Path, written: dict, changes: dict, message: str) -> None:
    trained(**written).save(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        SoftAC.load(tmp_path / "model", **changes)


def test_the_target_is_auto_again_after_a_file(tmp_path: Any) -> None:
    """Which has a number, for SAC."""
    model = trained()
    model.save(tmp_path / "model")
    assert model.target_entropy == "auto"
    assert SAC.load(tmp_path / "model").target_entropy == -2.0
    loaded = SoftAC.load(tmp_path / "model", env=RandomEnv())
    assert loaded.target_entropy == "auto"
    loaded.learn(20)
    assert SoftAC.load(tmp_path / "model", target_entropy=-1.0).target_entropy == -1.0
    changed = SAC.load(tmp_path / "model", env=RandomEnv())
    changed.target_entropy = -1.0
    changed.save(tmp_path / "changed")
    assert SoftAC.load(tmp_path / "changed").target_entropy == -1.0


@pytest.mark.filterwarnings("ignore:target_entropy of 3 nats")
def test_a_sac_file_with_a_target_out_of_reach_loads_to_be_played() -> None:
    file = io.BytesIO()
    model = trained(SAC, target_entropy=3.0)
    model.save(file)
    file.seek(0)
    loaded = SoftAC.load(file, env=RandomEnv())
    assert_same_predictions(model, loaded)
    with pytest.raises(ValueError, match="3 nats cannot be reached"):
        loaded.learn(40)
    file.seek(0)
    SoftAC.load(file, env=RandomEnv(), target_entropy="auto").learn(40)


def test_her_buffer_can_be_reloaded_after_the_model_gave_its_own_up(tmp_path: Path) -> None:
    env = BitFlippingEnv(n_bits=4, continuous=True, max_steps=4)
    model = SoftAC(
        "MultiInputPolicy", env, replay_buffer_class=HerReplayBuffer, learning_starts=20, policy_kwargs=SMALL
    )
    model.learn(40)
    model.save_replay_buffer(tmp_path / "buffer")
    del model.replay_buffer
    model.load_replay_buffer(tmp_path / "buffer", truncate_last_traj=False)
    model.learn(20)


class Remembering(RandomEnv):
    """Its observations are the number of the step in all, and its actions' sum is its reward."""

    steps = 0

    def _obs(self) -> np.ndarray:
        return np.full(3, type(self).steps / 1000, np.float32)

    def reset(self, **kwargs: Any) -> Any:
        super().reset(**kwargs)
        type(self).steps += 1
        return self._obs(), {}

    def step(self, action: Any) -> Any:
        _, reward, _, truncated, info = super().step(action)
        type(self).steps += 1
        return self._obs(), reward, False, truncated, info


def test_what_is_stored_after_a_callback_stopped_a_run_is_what_happened() -> None:
    """SB3's algorithms take a step that they do not store, and begin the next transition before it."""
    model = SoftAC("MlpPolicy", Remembering(episode_length=50), **KWARGS)
    model.learn(30, callback=lambda of, _: model.num_timesteps < 7)
    model.learn(20, reset_num_timesteps=False)
    filled = model.replay_buffer.size()
    assert filled == 26
    steps = [
        array[:filled, 0, 0] * 1000
        for array in (model.replay_buffer.observations, model.replay_buffer.next_observations)
    ]
    np.testing.assert_allclose(steps[1] - steps[0], 1, atol=1e-3)


@pytest.fixture
def model_of_another_machine(tmp_path: Path) -> Path:
    model = trained(replay_buffer_kwargs={"storage_device": "cpu"})
    model.replay_buffer_kwargs["storage_device"] = model.replay_buffer.storage_device = "cuda:7"
    model.save(tmp_path / "model")
    with open(tmp_path / "buffer.pkl", "wb") as file:
        pickle.dump(model.replay_buffer, file)
    return tmp_path


def test_a_model_whose_buffer_was_on_a_device_that_is_not_here(model_of_another_machine: Path) -> None:
    with pytest.warns(UserWarning, match="storage_device='cuda:7', but torch sees no such device here"):
        loaded = SoftAC.load(model_of_another_machine / "model", env=RandomEnv())
    assert loaded.learn(40).replay_buffer.storage_device == "auto"
    with (
        open(model_of_another_machine / "buffer.pkl", "rb") as file,
        pytest.warns(UserWarning, match="storage_device='cuda:7'"),
    ):
        assert pickle.load(file).size() == 60


def test_a_replay_buffer_that_was_deleted_is_loaded_as_the_model_draws_from_it(tmp_path: Path) -> None:
    options: dict[str, Any] = {"n_steps": 3, "replay_buffer_kwargs": {"prioritized": True}}
    trained().save_replay_buffer(tmp_path / "plain")
    model = trained(**options)
    del model.replay_buffer
    model.load_replay_buffer(tmp_path / "plain")
    assert (model.replay_buffer.n_steps, model.replay_buffer.prioritized, model.replay_buffer.size()) == (3, True, 60)
    model.learn(20)


def test_a_replay_buffer_that_was_deleted_cannot_be_saved(tmp_path: Path) -> None:
    model = trained()
    del model.replay_buffer
    with pytest.raises(ValueError, match="no replay buffer to save: it was deleted"):
        model.save_replay_buffer(tmp_path / "buffer")
    assert not list(tmp_path.iterdir())


def test_an_empty_replay_buffer_is_made_where_there_is_none() -> None:
    model = trained()
    model.replay_buffer = None
    assert model.learn(30).replay_buffer.size() == 30


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("polcy_delay", ": did you mean 'policy_delay'?"),
        ("learning_rates", ": did you mean 'learning_rate'?"),
        ("actor_lr", ""),
        ("bogus", ""),
    ],
)
def test_arguments_on_load_that_nobody_has(tmp_path: Path, name: str, hint: str) -> None:
    trained().save(tmp_path / "model")
    with pytest.raises(TypeError) as error:
        SoftAC.load(tmp_path / "model", **{name: 2})
    assert str(error.value) == f"there is no argument {name!r}{hint}"
    loaded = SoftAC.load(tmp_path / "model", num_timesteps=5, seed=3)  # attributes, as in SB3
    assert (loaded.num_timesteps, loaded.seed) == (5, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not th.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("actions", ACTIONS)
def test_between_devices(tmp_path: Path, actions: str) -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions=actions), **KWARGS | {"device": "cuda"}).learn(60)
    model.save(tmp_path / "model")
    on_cpu = SoftAC.load(tmp_path / "model", env=RandomEnv(actions=actions), device="cpu")
    assert {parameter.device.type for parameter in on_cpu.policy.parameters()} == {"cpu"}
    assert_same_predictions(model, on_cpu)
    on_cpu.learn(30)
    on_cpu.save(tmp_path / "cpu")
    SoftAC.load(tmp_path / "cpu", env=RandomEnv(actions=actions), device="cuda").learn(30)


def assert_no_pickled_tensors(model: SoftAC) -> None:
    """A pickled tensor remembers its device, and the file could not be loaded elsewhere."""
    pickled = set(model.__dict__) - set(model._excluded_save_params())
    pickled -= {name.split(".")[0] for names in model._get_torch_save_params() for name in names}
    for name in pickled:
        assert not isinstance(getattr(model, name), th.Tensor | th.nn.Module | th.optim.Optimizer), name


@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("ent_coef", ["auto", 0.1])
def test_no_tensor_is_pickled_into_the_data(actions: str, ent_coef: Any) -> None:
    assert_no_pickled_tensors(trained(actions=actions, ent_coef=ent_coef))

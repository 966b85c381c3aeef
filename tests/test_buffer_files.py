"""Files of a DeviceReplayBuffer: what is saved comes back, and what is no such file is refused."""

import copy
import io
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from sac_ext import DeviceReplayBuffer, SoftAC
from sac_ext.buffers import files
from sac_ext.buffers.ring import HostRing
from tests.catalogue import RandomEnv, small
from tests.streams import SPACES, Stream, add, assert_same_samples, stream, streams

FAST: dict[str, Any] = {"seed": 0, "device": "cpu", "learning_starts": 20, "batch_size": 16, "buffer_size": 60}
VECTOR, ACTION = spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(2)


@given(
    source=streams(),
    options=st.sampled_from(
        [{}, {"n_steps": 3, "gamma": 0.9}, {"optimize_memory_usage": True}, {"prioritized": True, "alpha": 0.7}]
    ),
    how=st.sampled_from(["file", "object", "pickle"]),
)
def test_what_is_saved_comes_back(
    source: Stream, options: dict[str, Any], how: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same draws, before and after more is added."""
    buffer = source.make(DeviceReplayBuffer, **options)
    if options.get("prioritized"):
        index = buffer.sample(8).indices
        buffer.update_priorities(index, th.rand(8) * 5)
    place = (source.observation_space, source.action_space, "cpu")
    if how == "pickle":
        loaded = pickle.loads(pickle.dumps(buffer))
    elif how == "object":
        file = io.BytesIO()
        buffer.save(file)
        file.seek(0)
        loaded = DeviceReplayBuffer.load(file, *place)
    else:
        path = tmp_path_factory.mktemp("buffer") / "new" / "buffer.safetensors"
        buffer.save(path)
        assert [each.name for each in path.parent.iterdir()] == [path.name]
        loaded = DeviceReplayBuffer.load(path, *place, n_envs=source.n_envs)
    for _ in range(2):
        samples = []
        for each in (buffer, loaded):
            np.random.seed(0)
            samples.append(each.sample(16))
        assert_same_samples(*samples)
        assert (loaded.pos, loaded.full) == (buffer.pos, buffer.full)
        for each in (buffer, loaded):
            source.but(seed=source.seed + 1).fill(each)


def test_only_what_is_filled_is_saved(tmp_path: Path) -> None:
    buffer = DeviceReplayBuffer(10**6, VECTOR, ACTION, device="cpu")
    add(buffer)
    buffer.save(tmp_path / "buffer")
    assert (tmp_path / "buffer").stat().st_size < 5000
    assert len(pickle.dumps(buffer)) < 10_000


def test_nothing_is_saved_and_loaded() -> None:
    file = io.BytesIO()
    DeviceReplayBuffer(10, VECTOR, ACTION, device="cpu").save(file)
    file.seek(0)
    assert DeviceReplayBuffer.load(file, VECTOR, ACTION, "cpu").size() == 0


def test_a_large_buffer_goes_through_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PIECE_BYTES", 100)
    buffer = stream().make(DeviceReplayBuffer)
    buffer.save(tmp_path / "buffer")
    loaded = DeviceReplayBuffer.load(tmp_path / "buffer", stream().observation_space, stream().action_space, "cpu")
    np.testing.assert_array_equal(loaded.observations, buffer.observations)


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "buffer.safetensors"
    buffer = stream().make(DeviceReplayBuffer)
    buffer.save(path)
    before = path.read_bytes()

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(HostRing, "stored", full)
    with pytest.raises(OSError, match="No space left"):
        buffer.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_none_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "buffer.safetensors"
    stream().make(DeviceReplayBuffer).save(path)
    whole = path.read_bytes()
    place = (stream().observation_space, stream().action_space, "cpu")
    for cut in (0, 5, 8, 50, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="not a complete replay buffer"):
            DeviceReplayBuffer.load(path, *place)
    from safetensors.numpy import save_file

    save_file({"weights": np.zeros(3)}, str(path))
    with pytest.raises(ValueError, match="but was not written by DeviceReplayBuffer"):
        DeviceReplayBuffer.load(path, *place)
    path.write_bytes(whole.replace(b'"version": "1"', b'"version": "9"'))
    with pytest.raises(ValueError, match=r"has format version 9, .*update sac_ext"):
        DeviceReplayBuffer.load(path, *place)
    with pytest.raises(FileNotFoundError):
        DeviceReplayBuffer.load(tmp_path / "missing", *place)


def test_a_file_of_other_spaces_or_environments(tmp_path: Path) -> None:
    path, space, action = tmp_path / "buffer", stream().observation_space, stream().action_space
    stream().make(DeviceReplayBuffer).save(path)
    for other in (VECTOR, spaces.Box(-3, 3, (7,), np.float32), SPACES["dict"]):
        with pytest.raises(
            ValueError, match=r"holds transitions of observation_space Box\(-1.0, 1.0, \(7,\), float32\)"
        ):
            DeviceReplayBuffer.load(path, other, action, "cpu")
    with pytest.raises(ValueError, match=r"holds transitions of action_space .*, but action_space is Discrete\(2\)"):
        DeviceReplayBuffer.load(path, space, ACTION, "cpu")
    with pytest.raises(ValueError, match="holds transitions of 2 environments, but n_envs=3: continue with n_envs=2"):
        DeviceReplayBuffer.load(path, space, action, "cpu", n_envs=3)
    with pytest.raises(ValueError, match="stores frames for the keys"):
        DeviceReplayBuffer.load(path, space, action, "cpu", optimize_memory_usage=True)


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_damaged_file_is_noticed(place: float, bit: int) -> None:
    """Whichever bit of it was flipped."""
    file = io.BytesIO()
    source = stream(length=4, steps=4)
    source.make(DeviceReplayBuffer, optimize_memory_usage=True).save(file)
    content = bytearray(file.getvalue())
    content[int(place * len(content))] ^= 1 << bit
    try:
        loaded = DeviceReplayBuffer.load(io.BytesIO(content), source.observation_space, source.action_space, "cpu")
    except ValueError:
        return
    again = io.BytesIO()
    loaded.save(again)
    assert again.getvalue() == file.getvalue()  # it was a space


def header(path: Path) -> dict[str, Any]:
    """As the documentation of safetensors has it."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])


class TestModel:
    """``save_replay_buffer`` and ``load_replay_buffer``."""

    def model(self, n_envs: int = 1, **options: Any) -> SoftAC:
        env = DummyVecEnv([RandomEnv] * n_envs)
        return SoftAC("MlpPolicy", env, policy_kwargs=small(), **FAST, **options)

    @pytest.mark.parametrize("name", ["buffer", "buffer.safetensors", "buffer.pkl", "run.1"])
    def test_names(self, tmp_path: Path, name: str) -> None:
        """What has a suffix is written as it is called, such as the .pkl of SB3's CheckpointCallback."""
        model = self.model().learn(40)
        model.save_replay_buffer(tmp_path / name)
        written = tmp_path / ("buffer.safetensors" if name == "buffer" else name)
        assert list(tmp_path.iterdir()) == [written]
        assert "transitions/rewards" in header(written)
        other = self.model()
        other.load_replay_buffer(str(tmp_path / name))
        np.testing.assert_array_equal(other.replay_buffer.rewards, model.replay_buffer.rewards)

    def test_a_pickle_of_sb3s(self, tmp_path: Path) -> None:
        sac = SAC("MlpPolicy", RandomEnv(), policy_kwargs=small(), **FAST).learn(40)
        sac.save_replay_buffer(tmp_path / "buffer")
        model = self.model()
        model.load_replay_buffer(tmp_path / "buffer")
        assert type(model.replay_buffer) is ReplayBuffer
        np.testing.assert_array_equal(model.replay_buffer.rewards, sac.replay_buffer.rewards)
        model.learn(30)

    def test_sb3s_algorithms_pickle_ours(self, tmp_path: Path) -> None:
        kwargs = FAST | {"policy_kwargs": small(), "replay_buffer_class": DeviceReplayBuffer}
        td3 = TD3("MlpPolicy", RandomEnv(), **kwargs).learn(40)
        td3.save_replay_buffer(tmp_path / "buffer")
        other = TD3("MlpPolicy", RandomEnv(), **kwargs)
        other.load_replay_buffer(tmp_path / "buffer")
        np.testing.assert_array_equal(other.replay_buffer.rewards, td3.replay_buffer.rewards)
        other.learn(30)

    def test_another_number_of_environments(self, tmp_path: Path) -> None:
        self.model(2).learn(40).save_replay_buffer(tmp_path / "buffer")
        model = self.model().learn(25)
        kept = model.replay_buffer
        with pytest.raises(ValueError, match="transitions of 2 environments, but n_envs=1"):
            model.load_replay_buffer(tmp_path / "buffer")
        assert model.replay_buffer is kept

    @pytest.mark.parametrize("truncate", [True, False])
    def test_whether_the_last_trajectory_goes_on(self, tmp_path: Path, truncate: bool) -> None:
        model = self.model(n_steps=3).learn(40)
        model.replay_buffer.dones[38:40] = 0
        model.save_replay_buffer(tmp_path / "buffer")
        model.load_replay_buffer(tmp_path / "buffer", truncate_last_traj=truncate)
        model._last_obs = model.env.reset()
        model._store_transition(model.replay_buffer, *self.transition(model))
        discounts = model.replay_buffer._get_samples(np.array([39])).discounts.item()
        assert discounts == pytest.approx(0.99 if truncate else 0.99**2)
        assert model.replay_buffer._get_samples(np.array([39])).dones.item() == 0

    @staticmethod
    def transition(model: SoftAC) -> tuple[Any, ...]:
        return np.zeros((1, 2), np.float32), model.env.reset(), np.zeros(1), np.zeros(1, bool), [{}]

    def test_the_class_is_not_written_into_sacs_files(self, tmp_path: Path) -> None:
        model = self.model(n_steps=3).learn(30)
        model.save(tmp_path / "model")
        assert model.replay_buffer_class is DeviceReplayBuffer
        sac = SAC.load(tmp_path / "model", env=RandomEnv())
        assert type(sac.replay_buffer).__name__ == "NStepReplayBuffer"
        again = SoftAC.load(tmp_path / "model", env=RandomEnv(), gamma=0.5)
        assert type(again.replay_buffer) is DeviceReplayBuffer
        assert (again.replay_buffer.n_steps, again.replay_buffer.gamma) == (3, 0.5)
        sac.save(tmp_path / "sac")
        back = SoftAC.load(tmp_path / "sac", env=RandomEnv(), gamma=0.7)
        assert type(back.replay_buffer) is DeviceReplayBuffer
        assert (back.replay_buffer.n_steps, back.replay_buffer.gamma) == (3, 0.7)

    @pytest.mark.parametrize("name", ["observations", "rewards"])
    @pytest.mark.parametrize("options", [{}, {"frame_stack": 2}], ids=["pairs", "frames"])
    def test_nan_in_a_file(self, tmp_path: Path, name: str, options: dict[str, Any]) -> None:
        env = VecFrameStack(DummyVecEnv([RandomEnv]), 2)
        model = SoftAC("MlpPolicy", env, policy_kwargs=small(), replay_buffer_kwargs=options, **FAST).learn(40)
        ring, key = model.replay_buffer.storage.ring, name
        if name == "observations" and options:
            ring, key = model.replay_buffer.storage.frames[""].ring, "frames"
        ring.stored(key)[7] = np.nan
        model.save_replay_buffer(tmp_path / "buffer")
        with pytest.raises(ValueError, match="from the loaded replay buffer"):
            model.load_replay_buffer(tmp_path / "buffer")

    def test_how_it_is_drawn_from_is_the_models(self, tmp_path: Path) -> None:
        """And where it is; priorities are read where both have them."""
        prioritized = {"prioritized": True, "alpha": 1.0}
        written = self.model(n_steps=3, replay_buffer_kwargs=prioritized).learn(50)
        written.save_replay_buffer(tmp_path / "prioritized")
        model = self.model(replay_buffer_kwargs={"memory_limit": "1GB", "storage_device": "cpu"})
        model.load_replay_buffer(tmp_path / "prioritized")
        buffer = model.replay_buffer
        assert (buffer.n_steps, buffer.prioritized, buffer.memory_limit, buffer.storage_device) == (
            1,
            False,
            "1GB",
            "cpu",
        )
        model.learn(30).save_replay_buffer(tmp_path / "plain")
        other = self.model(n_steps=2, gamma=0.5, replay_buffer_kwargs=prioritized)
        other.load_replay_buffer(tmp_path / "plain")
        assert (other.replay_buffer.n_steps, other.replay_buffer.gamma) == (2, 0.5)
        other.learn(30)
        other.load_replay_buffer(tmp_path / "prioritized")
        weights = [each.replay_buffer._priorities.tree.weights for each in (written, other)]
        np.testing.assert_array_equal(*weights)
        with pytest.raises(ValueError, match=r"more than memory_limit=1\.00 KB"):
            self.model(replay_buffer_kwargs={"memory_limit": "1KB"})

    def test_a_subclass(self, tmp_path: Path) -> None:
        model = self.model(replay_buffer_class=Labelled).learn(30)
        model.replay_buffer.label = "mine"
        assert copy.deepcopy(model.replay_buffer).label == "mine"
        model.save_replay_buffer(tmp_path / "buffer")
        model.replay_buffer.device = "meta"
        assert model.replay_buffer.label == "mine"
        model.load_replay_buffer(tmp_path / "buffer")
        assert type(model.replay_buffer) is Labelled

    @pytest.mark.parametrize("content", [b"", b"text", pickle.dumps({}), pickle.dumps(None)])
    def test_what_is_no_replay_buffer_leaves_the_models(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "buffer.pkl").write_bytes(content)
        model = self.model().learn(25)
        kept = model.replay_buffer
        with pytest.raises(ValueError, match="is not a replay buffer"):
            model.load_replay_buffer(tmp_path / "buffer.pkl")
        assert model.replay_buffer is kept

    def test_a_pickle_of_another_number_of_environments(self, tmp_path: Path) -> None:
        sac = SAC("MlpPolicy", RandomEnv(), policy_kwargs=small(), **FAST).learn(30)
        sac.save_replay_buffer(tmp_path / "buffer")
        model = self.model(2)
        kept = model.replay_buffer
        with pytest.raises(ValueError, match="transitions of 1 environments, but n_envs=2: continue with n_envs=1"):
            model.load_replay_buffer(tmp_path / "buffer")
        assert model.replay_buffer is kept

    def test_a_pickle_of_other_spaces(self, tmp_path: Path) -> None:
        sac = SAC("MlpPolicy", RandomEnv(actions="box-2d"), policy_kwargs=small(), **FAST).learn(30)
        sac.save_replay_buffer(tmp_path / "buffer")
        model = self.model()
        kept = model.replay_buffer
        with pytest.raises(ValueError, match=r"holds transitions of action_space Box\(.*, but the model's is"):
            model.load_replay_buffer(tmp_path / "buffer")
        assert model.replay_buffer is kept

    def test_a_pickle_of_ours_is_drawn_from_as_the_model_does(self, tmp_path: Path) -> None:
        td3 = TD3("MlpPolicy", RandomEnv(), policy_kwargs=small(), replay_buffer_class=DeviceReplayBuffer, **FAST)
        td3.learn(30).save_replay_buffer(tmp_path / "buffer")
        model = self.model(n_steps=3, replay_buffer_kwargs={"prioritized": True})
        model.load_replay_buffer(tmp_path / "buffer")
        assert (model.replay_buffer.n_steps, model.replay_buffer.prioritized) == (3, True)
        np.testing.assert_array_equal(model.replay_buffer.rewards, td3.replay_buffer.rewards)
        model.learn(30)

    def test_a_pickle_of_sb3s_without_what_the_model_asked_for(self, tmp_path: Path) -> None:
        SAC("MlpPolicy", RandomEnv(), policy_kwargs=small(), **FAST).learn(30).save_replay_buffer(tmp_path / "buffer")
        for options in ({"n_steps": 3}, {"replay_buffer_kwargs": {"prioritized": True}}):
            model = self.model(**options)
            with pytest.warns(UserWarning, match="SB3's ReplayBuffer: it samples returns of 1 steps"):
                model.load_replay_buffer(tmp_path / "buffer")

    def test_entropies_are_the_models_too(self, tmp_path: Path) -> None:
        soft = {"replay_buffer_kwargs": {"soft_n_steps": True}, "n_steps": 2}
        self.model(**soft).learn(30).save_replay_buffer(tmp_path / "soft")
        model = self.model()
        model.load_replay_buffer(tmp_path / "soft")
        assert not model.replay_buffer.soft_n_steps
        model.learn(30).save_replay_buffer(tmp_path / "plain")
        with pytest.raises(ValueError, match=r"expected .*transitions/entropies"):
            self.model(**soft).load_replay_buffer(tmp_path / "plain")

    def test_a_safetensors_file_comes_before_a_pickle(self, tmp_path: Path) -> None:
        self.model().learn(30).save_replay_buffer(tmp_path / "buffer")
        sac = SAC("MlpPolicy", RandomEnv(), policy_kwargs=small(), **FAST).learn(25)
        sac.save_replay_buffer(tmp_path / "buffer")
        model = self.model()
        model.load_replay_buffer(tmp_path / "buffer")
        assert model.replay_buffer.size() == 30


class Labelled(DeviceReplayBuffer):
    """Has an attribute of its own."""

    label = "none"


def test_arguments_of_numpys_types_are_saved(tmp_path: Path) -> None:
    buffer = DeviceReplayBuffer(
        np.int64(20),
        spaces.Box(0, 255, (4, 6, 6), np.uint8),
        ACTION,
        "cpu",
        np.int64(2),
        np.bool_(True),
        frame_stack=np.int64(4),
        prioritized=np.bool_(True),
        beta=(np.float32(0.5), 1),
        n_steps=np.int64(2),
        gamma=np.float32(0.5),
    )
    buffer.save(tmp_path / "buffer")
    loaded = DeviceReplayBuffer.load(tmp_path / "buffer", buffer.observation_space, ACTION, "cpu")
    assert (loaded.frame_stack, loaded.beta, loaded.n_steps, loaded.n_envs) == (4, (0.5, 1.0), 2, 2)


def test_a_link_is_written_through(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.touch()
    link.symlink_to(target)
    stream().make(DeviceReplayBuffer).save(link)
    assert link.is_symlink()
    assert target.stat().st_size > 1000


def test_pickles_of_earlier_versions_load() -> None:
    """Before the arguments for notes were there."""
    buffer = DeviceReplayBuffer(10, VECTOR, ACTION, device="cpu")
    state = buffer.__getstate__()
    for name in ("behavior_entropy", "action_mask_size"):
        del state["attributes"][name]
    old = DeviceReplayBuffer.__new__(DeviceReplayBuffer)
    old.__setstate__(state)
    assert old.action_mask_size == 0
    assert not old.behavior_entropy

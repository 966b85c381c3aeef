"""Replay buffers."""

from sac_ext.buffers.device_replay_buffer import DeviceReplayBuffer
from sac_ext.buffers.samples import SoftReplayBufferSamples

__all__ = ["DeviceReplayBuffer", "SoftReplayBufferSamples"]

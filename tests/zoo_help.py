"""What tests of the zoo's commands share."""

ENV = "CartPole-v1"
FAST = ["learning_starts:50", "batch_size:16", "buffer_size:1000", "policy_kwargs:dict(net_arch=[8])"]
"""For ``-params``: small and soon learning."""

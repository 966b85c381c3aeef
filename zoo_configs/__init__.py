"""Training configurations of SoftAC for rl-baselines3-zoo; installs as ``sac_ext.zoo_configs``."""

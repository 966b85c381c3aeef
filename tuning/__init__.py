"""Hyperparameter tuning of SoftAC with Optuna; installs as ``sac_ext.tuning``. No tuner is released yet."""

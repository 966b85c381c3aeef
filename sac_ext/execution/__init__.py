"""How a gradient step runs. A mode takes the step and runs it in its own way; modes contain no formulas."""

from sac_ext.execution.modes import execution_mode

__all__ = ["execution_mode"]

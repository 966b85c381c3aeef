"""How a gradient step runs. A mode takes the step and does the same in its own way; it holds no formula."""

from sac_ext.execution.modes import execution_mode

__all__ = ["execution_mode"]

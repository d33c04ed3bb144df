"""A plan as CI files: each module is one CI system, `compile_plan(plan, source, settings)`, pure."""

from mlgate.ci.jobs import expected, problems

__all__ = ["expected", "problems"]

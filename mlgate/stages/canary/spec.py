"""Options of the canary stage: which model, through which router, judged by which triggers."""

from pydantic import Field

from mlgate.rollout.connections import MlflowOptions, ProbeOptions
from mlgate.rollout.course import Course, Pace
from mlgate.rollout.routers.haproxy import HaproxyOptions
from mlgate.rollout.sources.access_log import AccessLogOptions
from mlgate.rollout.trigger import Trigger
from mlgate.stage import EnvironmentName, ModelInput, Options


class Canary(Options, Pace):
    """Moves traffic to a new version step by step, and back when harm is proven."""

    model: ModelInput = Field(description="The version that is rolled out, as it was judged.")
    previous: str = Field(
        min_length=1, description="The version that traffic goes back to, in your words."
    )
    router: HaproxyOptions = Field(description="What splits the traffic.")
    source: AccessLogOptions = Field(description="What tells how the arms do.")
    probe: ProbeOptions = Field(description="An inference that shows that an arm is ready.")
    mlflow: MlflowOptions | None = Field(None, description="Whose alias champion moves.")
    notify: tuple[EnvironmentName, ...] = Field(
        (), description="Variables that hold addresses of webhooks: told at every end."
    )
    gates: tuple[Trigger, ...] = Field(
        (), description="Triggers: judged all the time; proven harm takes the traffic back."
    )

    def course(self) -> Course:
        """The way that this block describes. Raises `ValueError` where it cannot be gone."""
        pace = {name: getattr(self, name) for name in Pace.model_fields}
        return Course(**pace, triggers=self.gates)

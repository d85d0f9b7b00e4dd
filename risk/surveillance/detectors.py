"""All detectors as one: what they are set to, and one call for a scene."""

from dataclasses import dataclass, field

from risk.surveillance import circles, momentum, pressure, velocity, wash
from risk.surveillance.circles import CircularTrading
from risk.surveillance.momentum import MomentumIgnition
from risk.surveillance.pressure import Pressure
from risk.surveillance.scene import Finding, Scene, once_per_key
from risk.surveillance.velocity import Velocity
from risk.surveillance.wash import WashTrading


@dataclass(frozen=True, slots=True)
class Parameters:
    """What every detector is set to; docs/surveillance.md tells them in the words of compliance."""

    wash: WashTrading = field(default_factory=WashTrading)
    circles: CircularTrading = field(default_factory=CircularTrading)
    pressure: Pressure = field(default_factory=Pressure)
    momentum: MomentumIgnition = field(default_factory=MomentumIgnition)
    velocity: Velocity = field(default_factory=Velocity)

    @property
    def context_ms(self) -> int:
        """How far before the first trade to be judged a scene must reach."""
        return max(
            self.wash.window_ms,
            self.circles.window_ms,
            self.pressure.again_ms,
            self.momentum.burst_ms + self.momentum.reverse_ms,
        )

    @property
    def horizon_ms(self) -> int:
        """How far after the last trade to be judged orders must have been watched."""
        return self.pressure.cancel_ms


def examine(scene: Scene, parameters: Parameters = Parameters()) -> list[Finding]:
    """What every detector finds, in order of time."""
    return once_per_key(
        [
            *wash.find(scene, parameters.wash),
            *circles.find(scene, parameters.circles),
            *pressure.find(scene, parameters.pressure),
            *momentum.find(scene, parameters.momentum),
            *velocity.find(scene, parameters.velocity),
        ]
    )

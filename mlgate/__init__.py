"""Gates for machine-learning models, as code: one `mlgate.yaml`, one verdict, everywhere."""

from typing import Final

__version__: Final = "0.1.0"

"""The device side of edgeopt. Standard library only, Python 3.8 to 3.13, shipped as one zipapp.

On a device an application opens what was installed there with `load`:

    from edgeopt_agent import load
    model = load("app")
    outputs = model({"input": array})
"""

from edgeopt_agent.load import Model, load
from edgeopt_agent.wire import PROTOCOL

__version__ = "0.1.0"

__all__ = ["PROTOCOL", "Model", "__version__", "load"]

"""A small OpenAI-compatible server: the default model of the product and the upstream of tests."""

from .completion import MODEL_ID
from .faults import CANARY, Fault
from .replies import Break, Gate, RawAnswer, Reply, Usage, Wire, tool_call_deltas
from .server import OfflineModel, Received
from .thread import OfflineModelThread

__all__ = [
    "CANARY",
    "MODEL_ID",
    "Break",
    "Fault",
    "Gate",
    "OfflineModel",
    "OfflineModelThread",
    "RawAnswer",
    "Received",
    "Reply",
    "Usage",
    "Wire",
    "tool_call_deltas",
]

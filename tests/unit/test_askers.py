"""Which graphs stop to ask a human, found without running them."""

from collections.abc import Callable
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import interrupt

from sluice.infrastructure.pipeline.askers import asks, stops
from tests.unit.small_graphs import State, answer, chain


def middleware(name: str, module: str) -> Any:
    def after_model(self: Any) -> None: ...

    return type(name, (), {"__module__": module, "after_model": after_model})()


HUMAN = middleware("HumanInTheLoopMiddleware", "langchain.agents.middleware")
OTHERS = [
    middleware("HumanInTheLoopMiddleware", "mine"),
    middleware("OtherMiddleware", "langchain.agents.middleware"),
]


def holding(value: Any) -> Callable[[State], Any]:
    def node(state: State) -> Any:
        return value

    return node


def ask(state: State) -> State:
    return {"answer": interrupt("?")}


@pytest.mark.parametrize(
    "node", [ask, holding(HUMAN), holding(HUMAN.after_model), holding(type(HUMAN))]
)
def test_a_graph_that_names_how_to_ask_does_so(node: Any) -> None:
    assert asks(chain(a=node).compile()) == "surely"
    inner = chain(a=node).compile()
    assert asks(chain(inner=inner).compile()) == "surely"


@pytest.mark.parametrize(
    "value", [*OTHERS, *(one.after_model for one in OTHERS), *map(type, OTHERS), None]
)
def test_what_only_looks_alike_does_not(value: Any) -> None:
    assert asks(chain(a=holding(value)).compile()) == "never"


@pytest.mark.parametrize("when", ["interrupt_before", "interrupt_after"])
def test_a_graph_that_is_compiled_to_stop_stops_for_somebody(when: str) -> None:
    options: Any = {when: ["a"]}
    stopping = chain(a=answer, b=answer).compile(**options)
    assert stops(stopping)
    assert stops(chain(inner=stopping).compile())
    assert asks(stopping) == "surely"
    assert not stops(chain(a=answer).compile())


def test_a_checkpointer_may_be_there_for_that() -> None:
    assert asks(chain(a=answer).compile(checkpointer=InMemorySaver())) == "perhaps"
    assert asks(chain(a=answer).compile()) == "never"

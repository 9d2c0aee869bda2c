"""How a deployment's container is made of the base one: what it declares is used everywhere."""

from typing import TypeVar

from dependency_injector.containers import DeclarativeContainer
from dependency_injector.providers import deepcopy

C = TypeVar("C", bound=DeclarativeContainer)


def deployment(container: type[C]) -> type[C]:
    """Class decorator: whatever is inherited asks for what `container` declares.

    Without it a provider of the base would go on asking the base's own. `containers.copy` of
    dependency-injector does the same, but loses what a declared provider itself takes from the
    base. The base and its other subclasses stay as they are.
    """
    memo: dict[int, object] = {}
    inherited = deepcopy(dict(container.inherited_providers), memo)
    declared = deepcopy(dict(container.cls_providers), memo)
    for name, provider in declared.items():
        if name in inherited:
            inherited[name].override(provider)
    for name, provider in {**inherited, **declared}.items():
        setattr(container, name, provider)
    return container

"""How a deployment's container is made of the base one: what it declares is used everywhere."""

from typing import Any, TypeVar

from dependency_injector.containers import DeclarativeContainer
from dependency_injector.providers import Dependency, deepcopy

C = TypeVar("C", bound=DeclarativeContainer)


def deployment(container: type[C]) -> type[C]:
    """Class decorator: whatever is inherited asks for what `container` declares.

    Without it a provider of the base would go on asking the base's own. `containers.copy` of
    dependency-injector does the same, but loses what a declared provider itself takes from the
    base. The base and its other subclasses stay as they are.

    `parts`, in the container's body, are containers whose declarations count like its own; what a
    part depends on by a name of the base is the base's.
    """
    memo: dict[int, object] = {}
    inherited = deepcopy(dict(container.inherited_providers), memo)
    declared = deepcopy(_declared(container), memo)
    for name, provider in tuple(declared.items()):
        if isinstance(provider, Dependency):
            declared.pop(name).override(inherited[name])
    for name, provider in declared.items():
        if name in inherited:
            inherited[name].override(provider)
    for name, provider in {**inherited, **declared}.items():
        setattr(container, name, provider)
    return container


def _declared(container: type[DeclarativeContainer]) -> dict[str, Any]:
    declared: dict[str, Any] = {}
    for part in vars(container).get("parts", ()):
        declared |= part.cls_providers
    return declared | container.cls_providers

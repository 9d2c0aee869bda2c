"""What is done about the evidence: promote, hold, or step back, with one sentence that says why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import inf
from typing import Literal, get_args

from sluice.domain.chat import ExecutionPath
from sluice.domain.guard.evidence import reached, upper_end, worse
from sluice.domain.guard.tally import METRICS, Metric, Tally

Watched = Literal["failed", "late", "left", "spoiled", "slow"]
Action = Literal["promote", "hold", "step_back"]
DECISIONS: tuple[tuple[Action, str], ...] = (
    ("hold", "split"),
    ("hold", "upstream"),
    *(("step_back", watched) for watched in get_args(Watched)),
    ("promote", "promotion"),
    ("hold", "promotion"),
    ("hold", "last"),
)
"""All that `judge` may come to: action and rule."""
_HALF, _EIGHTH = Decimal("0.5"), Decimal("0.125")


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator allows. `alpha` is the chance of ever stepping back without a reason.

    It is split over what is watched by `weights`, which sum up to 1 at most. `margin`: worse by
    less is of no interest. `ratio`: how much worse A2 may be at most where a step is promoted, as
    far as is proved; infinity asks for no proof.
    `ill`: the part of all jobs that must fail in each arm for the upstream to be the cause.
    """

    alpha: Decimal = Decimal("0.05")
    weights: Mapping[Watched, Decimal] | None = None
    margin: Decimal = Decimal("0.1")
    ratio: float = 2.0
    split_alpha: Decimal = Decimal("0.001")
    ill: float = 0.2
    seconds: float = 3600
    users: int = 100

    def __post_init__(self) -> None:
        """Raises ValueError for weights that would spend more than `alpha`."""
        weights = self.weights or {}
        if any(weight < 0 for weight in weights.values()) or sum(weights.values()) > 1:
            raise ValueError("the weights are not negative, and sum up to 1 at most")

    def alpha_of(self, watched: Watched) -> Decimal:
        if self.weights is None:
            return self.alpha * (_HALF if watched == "failed" else _EIGHTH)
        return self.alpha * self.weights.get(watched, Decimal())


@dataclass(frozen=True, slots=True)
class Recent:
    """The jobs of one arm that ended in the last five minutes."""

    jobs: int
    failed: int


@dataclass(frozen=True, slots=True)
class Step:
    """Where a rollout is: the share in percent, for how long, and its users since then."""

    share: float
    seconds: float
    users: Mapping[ExecutionPath, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`share` is what to set, the present one where it holds. `rule` names what decided."""

    action: Action
    share: float
    rule: str
    sentence: str
    evidence: Mapping[Watched, float]
    upper: Mapping[Metric, float | None]


def judge(
    tally: Tally,
    step: Step,
    steps: Sequence[float],
    limits: Limits,
    recent: Mapping[ExecutionPath, Recent],
) -> Verdict:
    """The first rule that applies: a broken split, an ill upstream, A2 worse, and then promotion.

    `steps` are the plan's shares, rising. What is not known holds, and never promotes.
    """
    evidence = _evidence(tally, limits)
    upper = {m: _upper(tally, limits, m) for m in METRICS}

    def verdict(action: Action, share: float, rule: str, sentence: str) -> Verdict:
        told = {name: float(value) for name, value in evidence.items()}
        return Verdict(action, share, rule, sentence, told, upper)

    def hold(rule: str, sentence: str) -> Verdict:
        return verdict("hold", step.share, rule, sentence)

    if reached(tally.split, limits.split_alpha):
        return hold("split", "The split is broken: users are not in A2 as the share says.")
    if _ill(recent, limits.ill):
        return hold("upstream", f"The upstream is ill: both arms fail above {limits.ill:.0%}.")
    for name, value in evidence.items():
        alpha = limits.alpha_of(name)
        if alpha and reached(value, alpha):
            if name != "slow" and not tally.users["A1"]:  # there may be as much on its way
                return hold("promotion", f"A2 looks worse in {name}: no job of A1 is over yet.")
            lower = max((one for one in steps if one < step.share), default=0.0)
            known = f"evidence {float(value):.4g} of {float(1 / alpha):.4g}"
            return verdict("step_back", lower, name, f"A2 is worse in {name}: {known}.")
    if missing := _missing(step, limits, upper):
        return hold("promotion", missing)
    higher = min((one for one in steps if one > step.share), default=None)
    if higher is None:
        return hold("last", f"{step.share:g} % is the last step.")
    return verdict("promote", higher, "promotion", f"{step.share:g} % is good: on to {higher:g} %.")


def _evidence(tally: Tally, limits: Limits) -> dict[Watched, Decimal]:
    found: dict[Watched, Decimal] = {m: worse(tally.bad[m], limits.margin) for m in METRICS}
    found["slow"] = worse(tally.slow, limits.margin)
    return found


def _upper(tally: Tally, limits: Limits, metric: Metric) -> float | None:
    alpha = limits.alpha_of(metric)
    return upper_end(tally.bad[metric], alpha) if alpha else None


def _ill(recent: Mapping[ExecutionPath, Recent], floor: float) -> bool:
    """Both arms alike: one alone would be the arm's own illness."""
    arms: tuple[ExecutionPath, ...] = ("A1", "A2")
    there = [recent.get(arm, Recent(0, 0)) for arm in arms]
    return all(one.jobs > 0 and one.failed > floor * one.jobs for one in there)


def _missing(step: Step, limits: Limits, upper: Mapping[Metric, float | None]) -> str | None:
    """Why the step is not promoted yet."""
    if step.seconds < limits.seconds:
        return f"The step is {step.seconds:.0f} of {limits.seconds:.0f} seconds old."
    arms: tuple[ExecutionPath, ...] = ("A1", "A2")
    for arm in arms:
        if step.users.get(arm, 0) < limits.users:
            return f"{arm} has {step.users.get(arm, 0)} of {limits.users} users in this step."
    for metric, end in upper.items():
        if limits.ratio == inf:  # no proof is asked for
            break
        if limits.alpha_of(metric) and (end is None or end >= limits.ratio):
            shown = "unbounded" if end is None else f"{end:.3g}"
            return f"A2 may still be worse in {metric}: the ratio is {shown}, not {limits.ratio:g}."
    return None

"""A plan and a verdict as the stores keep them with a change of the share."""

import json
from collections.abc import Mapping
from typing import Any

from sluice.application.compact_json import compact
from sluice.domain.guard.plan import Plan


def dump_plan(plan: Plan | None) -> str | None:
    return None if plan is None else compact(plan.told())


def load_plan(stored: str | None) -> Plan | None:
    return None if stored is None else Plan.parse(json.loads(stored))


def dump_verdict(verdict: Mapping[str, Any] | None) -> str | None:
    return None if verdict is None else compact(verdict)


def load_verdict(stored: str | None) -> Mapping[str, Any] | None:
    return None if stored is None else json.loads(stored)

"""The share over HTTP: who may look and turn it, and what a job tells of it."""

import csv
import io
import json
from typing import Any

import httpx2
import pytest

from sluice.domain.errors import Unavailable
from sluice.domain.events import Done, StageStarted, Token
from sluice.domain.rollout import Share
from sluice.interfaces.http.auth.identity import TrustedHeader
from tests.http.house import DONE, House, serving
from tests.http.who import LOOPBACK
from tests.waiting import until

ROLLOUT = "/api/v1/rollout"
ANN = {"X-User-ID": "ann"}


async def put(house: House, share: Any, match: str | None = '"0"', **more: Any) -> Any:
    headers = dict(more.pop("headers", {})) | ({"If-Match": match} if match else {})
    return await house.client.put(ROLLOUT, json={"share": share} | more, headers=headers)


def admins(**options: Any) -> Any:
    return serving(
        DONE, identity=TrustedHeader(LOOPBACK), share=Share(5), admins={"ann"}, **options
    )


async def test_a_job_tells_its_share_why_and_whose_it_was() -> None:
    async with serving(DONE, share=Share(100)) as house:
        job = await house.asked()
        told = (await house.client.get(f"/api/v1/jobs/{job}")).json()
        assert told["flag"] == {"share": 100, "reason": "split", "source": "env", "rollout": None}


async def test_a_job_keeps_what_it_was_drawn_by_when_the_share_changes() -> None:
    async with serving(DONE, share=Share(100), admins=None) as house:
        before = await house.asked()
        changed = (await put(house, 0)).json()
        after = await house.asked()
        first, second = [
            (await house.client.get(f"/api/v1/jobs/{job}")).json() for job in (before, after)
        ]
        assert (first["path"], first["flag"]["share"]) == ("A2", 100)
        assert (second["path"], second["flag"]) == (
            "A1",
            {"share": 0, "reason": "control", "source": "control", "rollout": changed["rollout"]},
        )


async def test_a_key_that_was_used_keeps_its_decision_when_the_share_changes() -> None:
    async with serving(DONE, share=Share(100), admins=None) as house:
        headers, body = {"Idempotency-Key": "k"}, {"message": "Why?"}
        first = (await house.client.post("/api/v1/chat", json=body, headers=headers)).json()
        await put(house, 0)
        again = (await house.client.post("/api/v1/chat", json=body, headers=headers)).json()
        assert again == first
        assert first["path"] == "A2"


@pytest.mark.parametrize("path", ["A1", "A2"])
async def test_a_request_chooses_its_path_where_it_may_and_is_marked(path: str) -> None:
    async with serving(DONE, share=Share(50), path_header=True) as house:
        for url in ("/api/v1/chat", f"/api/v1/chat/{(await house.ask())['chat_id']}/messages"):
            headers = {"X-Sluice-Path": path}
            answer = await house.client.post(url, json={"message": "Why?"}, headers=headers)
            assert answer.json()["path"] == path
            told = (await house.client.get(answer.headers["Location"])).json()
            assert told["flag"]["reason"] == "header"


async def test_a_request_cannot_choose_where_it_may_not() -> None:
    async with serving(DONE, share=Share(0)) as house:
        headers = {"X-Sluice-Path": "A2"}
        answer = await house.client.post("/api/v1/chat", json={"message": "?"}, headers=headers)
        assert answer.json()["path"] == "A1"


async def test_a_path_that_there_is_not_is_refused_by_its_name() -> None:
    async with serving(DONE, path_header=True) as house:
        headers = {"X-Sluice-Path": "A3"}
        answer = await house.client.post("/api/v1/chat", json={"message": "?"}, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["detail"] == "X-Sluice-Path: is A1 or A2"


async def test_an_admin_reads_and_changes_the_share() -> None:
    async with admins() as house:
        shown = await house.client.get(ROLLOUT, headers=ANN)
        assert shown.status_code == 200
        assert shown.headers["ETag"] == '"0"'
        told = shown.json()
        assert told.pop("arms").keys() == {"A1", "A2"}
        assert told == {
            "share": 5, "reason": "split", "source": "env", "rollout": None,
            "environment": "5%", "plan": None, "guard": [], "history": [],
            "shadow": None,
        }  # fmt: skip
        changed = await put(house, 25.5, shown.headers["ETag"], why="a step", headers=ANN)
        assert changed.status_code == 200
        assert changed.headers["ETag"] == '"1"'
        body = changed.json()
        assert (await house.client.get(ROLLOUT, headers=ANN)).json() == body
        (change,) = body["history"]
        assert (body["share"], body["reason"], body["source"]) == (25.5, "control", "control")
        assert change.pop("at").endswith("Z")
        assert change == {
            "number": 1, "by": "ann", "from": 5, "to": 25.5, "why": "a step",
            "rollout": body["rollout"], "state": None, "verdict": None,
        }  # fmt: skip


@pytest.mark.parametrize("body", [b'{"share": 1}', b"no JSON", b'{"share": 1000}', b""])
async def test_for_others_there_is_nothing_whatever_they_send(body: bytes) -> None:
    async with admins() as house:
        headers = {"X-User-ID": "bob", "Content-Type": "application/json"}
        nothing = await house.client.get("/api/v1/nothing", headers=headers)
        for method in ("GET", "PUT"):
            answer = await house.client.request(method, ROLLOUT, content=body, headers=headers)
            assert answer.status_code == 404
            told = [{**one.json(), "request_id": ""} for one in (answer, nothing)]
            assert told[0] == told[1]


async def test_nobody_is_an_admin_unless_named() -> None:
    async with serving(DONE, identity=TrustedHeader(LOOPBACK)) as house:
        assert (await house.client.get(ROLLOUT, headers=ANN)).status_code == 404
        assert (await house.client.get(ROLLOUT)).status_code == 401


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
async def test_without_sign_in_whoever_is_on_this_machine_may_and_no_proxys_client(
    header: str,
) -> None:
    async with serving(DONE, admins=None) as house:
        assert (await house.client.get(ROLLOUT)).status_code == 200
        answer = await house.client.get(ROLLOUT, headers={header: "for=192.0.2.1"})
        assert answer.status_code == 404


async def test_two_who_change_it_at_once_do_not_undo_each_other() -> None:
    async with admins() as house:
        assert (await put(house, 25, headers=ANN)).status_code == 200
        late = await put(house, 50, headers=ANN)
        assert (late.status_code, late.json()["code"]) == (412, "outdated")
        assert (await house.client.get(ROLLOUT, headers=ANN)).json()["share"] == 25


@pytest.mark.parametrize("match", ["0", 'W/"0"', '"x"', '"0", "7"', '""'])
async def test_an_etag_that_was_never_given_changes_nothing(match: str) -> None:
    async with admins() as house:
        assert (await put(house, 25, match, headers=ANN)).status_code == 412


async def test_a_change_says_what_it_replaces_or_that_it_replaces_anything() -> None:
    async with admins() as house:
        refused = await put(house, 25, None, headers=ANN)
        assert (refused.status_code, refused.json()["code"]) == (428, "if_match_required")
        assert (await put(house, 25, "*", headers=ANN)).status_code == 200
        assert (await put(house, 50, "*", headers=ANN)).headers["ETag"] == '"2"'


async def test_a_share_is_given_back_to_the_environment() -> None:
    async with admins() as house:
        await put(house, 25, headers=ANN)
        body = (await put(house, None, '"1"', headers=ANN)).json()
        assert (body["share"], body["source"], body["rollout"]) == (5, "env", None)


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("share", {"share": -0.1}), ("share", {"share": 100.1}), ("share", {"share": "25%"}),
        ("share", {"share": True}), ("share", {}), ("why", {"share": 1, "why": " "}),
        ("why", {"share": 1, "why": "x" * 501}), ("why", {"share": 1, "why": "\0"}),
        ("more", {"share": 1, "more": 1}),
    ],
)  # fmt: skip
async def test_a_share_or_a_reason_that_cannot_be_is_refused_by_its_name(
    field: str, body: Any
) -> None:
    async with admins() as house:
        headers = ANN | {"If-Match": '"0"'}
        answer = await house.client.put(ROLLOUT, json=body, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(f"{field}: ")


@pytest.mark.parametrize(("text", "share"), [("true", 100), ("false", 0)])
async def test_the_environments_on_and_off_cannot_be_changed_and_say_so(
    text: str, share: float
) -> None:
    async with serving(DONE, share=Share.parse(text), admins=None) as house:
        refused = await put(house, 25)
        assert refused.status_code == 409
        assert "ENABLE_TOKEN_STREAMING" in refused.json()["detail"]
        body = (await house.client.get(ROLLOUT)).json()
        assert (body["environment"], body["share"], body["reason"]) == (text, share, "static")


async def test_a_page_of_another_origin_changes_nothing() -> None:
    async with admins() as house:
        headers = ANN | {"Origin": "https://evil.example"}
        assert (await put(house, 25, headers=headers)).status_code == 403


async def test_no_page_of_another_origin_may_turn_it_whatever_else_it_may() -> None:
    """A browser asks first: only our own page and programs turn the share."""
    async with admins(cors_origins=["https://chat.example"]) as house:
        headers = {"Origin": "https://chat.example", "Access-Control-Request-Method": "PUT"}
        assert (await house.client.options(ROLLOUT, headers=headers)).status_code == 400


async def test_the_history_is_as_long_as_was_asked_for() -> None:
    async with admins() as house:
        for share in range(25):
            await put(house, share, "*", headers=ANN)
        for limit, shown in ((1, 1), (20, 20), (1000, 25)):
            answer = await house.client.get(f"{ROLLOUT}?limit={limit}", headers=ANN)
            assert len(answer.json()["history"]) == shown
            assert answer.headers["ETag"] == '"25"'


async def test_outcomes_are_exported_as_lines_and_as_csv_without_a_text_or_a_user() -> None:
    async with serving(
        StageStarted("answer", 10), Token("secret", "x"), Done("A2", "secret"), share=Share(100),
        admins=None,
    ) as house:  # fmt: skip
        jobs = [await house.asked("a secret question") for _ in range(3)]
        await until(lambda: not house.follow.open)
        await house.deliveries.flush()
        lines = await house.client.get(f"{ROLLOUT}/outcomes")
        table = await house.client.get(f"{ROLLOUT}/outcomes?format=csv")
        assert lines.headers["Content-Type"] == "application/jsonl"
        told = [json.loads(line) for line in lines.text.splitlines()]
        assert [one["job_id"] for one in told] == jobs
        for one in told:
            assert (one["arm"], one["status"], one["left_early"]) == ("A2", "completed", False)
            assert one["admitted_at"] < one["first_character_at"]
            assert one["admitted_at"].endswith("Z")
        first, *rows = csv.DictReader(io.StringIO(table.text, newline=""))
        assert first.keys() == told[0].keys()
        assert len(rows) == 2
        for text in (lines.text, table.text):
            assert "secret" not in text
            assert "anonymous" not in text


async def test_an_export_is_of_one_rollout_where_it_is_named_and_long_ones_are_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sluice.application.export._PAGE", 2)
    async with serving(DONE, share=Share(0), admins=None) as house:
        await house.asked()
        rollout = (await put(house, 25)).json()["rollout"]
        jobs = [await house.asked() for _ in range(4)]
        everything = await house.client.get(f"{ROLLOUT}/outcomes")
        one = await house.client.get(f"{ROLLOUT}/outcomes?rollout={rollout}&format=csv")
        assert len(everything.text.splitlines()) == 5
        rows = list(csv.DictReader(io.StringIO(one.text, newline="")))
        assert [row["job_id"] for row in rows] == jobs
        none = await house.client.get(f"{ROLLOUT}/outcomes?rollout=other")
        assert (none.status_code, none.text) == (200, "")


async def test_an_export_is_refused_to_others_and_in_forms_that_there_are_not() -> None:
    async with admins() as house:
        url = f"{ROLLOUT}/outcomes"
        assert (await house.client.get(url, headers={"X-User-ID": "bob"})).status_code == 404
        refused = await house.client.get(f"{url}?format=xml", headers=ANN)
        assert refused.status_code == 422


async def test_an_export_that_cannot_be_read_on_is_cut_and_not_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sluice.application.export._PAGE", 2)
    async with serving(DONE, share=Share(0), admins=None) as house:
        for _ in range(3):
            await house.asked()
        page = house.outcomes.page

        async def once(**given: Any) -> Any:
            if given["after"]:
                raise Unavailable("away")
            return await page(**given)

        monkeypatch.setattr(house.outcomes, "page", once)
        with pytest.raises(httpx2.HTTPError):
            await house.client.get(f"{ROLLOUT}/outcomes")


PLAN = {"steps": [{"share": 5}, {"share": 50, "seconds": 60, "users": 7}], "limits": {"ratio": 3}}


async def change(house: House, match: str, **body: Any) -> Any:
    return await house.client.put(ROLLOUT, json=body, headers={"If-Match": match})


async def test_a_plan_is_started_held_resumed_and_stopped() -> None:
    async with serving(DONE, share=Share(0), admins=None) as house:
        started = (await change(house, '"0"', plan=PLAN, why="go")).json()
        assert (started["share"], started["source"]) == (5, "control")
        plan = started["plan"]
        assert plan["steps"] == [
            {"share": 5, "seconds": 3600, "users": 100},
            {"share": 50, "seconds": 60, "users": 7},
        ]
        assert (plan["state"], plan["limits"]["ratio"], plan["limits"]["alpha"]) == (
            "running", 3, 0.05,
        )  # fmt: skip
        for number, state in enumerate(("held", "running", "stopped"), 1):
            body = (await change(house, f'"{number}"', state=state)).json()
            assert (body["plan"]["state"], body["share"]) == (state, 5)
        told = [(one["state"], one["to"], one["rollout"]) for one in body["history"]]
        states = ("stopped", "running", "held", "running")
        assert told == [(state, 5, started["rollout"]) for state in states]
        refused = await change(house, "*", state="held")
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


async def test_a_share_that_is_set_by_hand_ends_the_plan() -> None:
    async with serving(DONE, share=Share(0), admins=None) as house:
        await change(house, '"0"', plan=PLAN)
        body = (await change(house, '"1"', share=10)).json()
        assert (body["plan"], body["share"]) == (None, 10)


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("plan.steps", {"plan": {}}),
        ("plan.steps[1].share", {"plan": {"steps": [{"share": 5}, {"share": 5}]}}),
        ("plan.limits.alpha", {"plan": {"steps": [{"share": 5}], "limits": {"alpha": 2}}}),
        ("plan", {"plan": 5}), ("state", {"state": "stepped_back"}), ("state", {"state": None}),
        ("more", {"state": "held", "more": 1}), ("share", {"plan": PLAN, "share": 5}),
    ],
)  # fmt: skip
async def test_a_plan_that_cannot_be_is_refused_by_its_fields_name(field: str, body: Any) -> None:
    async with serving(DONE, share=Share(0), admins=None) as house:
        refused = await change(house, '"0"', **body)
        assert refused.status_code == 422
        assert refused.json()["detail"].startswith(f"{field}: ")


async def test_both_arms_are_shown_with_intervals() -> None:
    async with serving(
        StageStarted("answer", 10), Done("A2", "so"), share=Share(100), admins=None
    ) as house:
        for _ in range(3):
            await house.asked()
        await until(lambda: not house.follow.open)
        await house.deliveries.flush()
        arms = (await house.client.get(ROLLOUT)).json()["arms"]
        assert (arms["A1"]["jobs"], arms["A2"]["jobs"]) == (0, 3)
        failed = arms["A2"]["bad"]["failed"]
        assert (failed["count"], failed["of"]) == (0, 3)
        low, high = failed["interval"]
        assert low == 0
        assert 0.5 < high < 0.6
        assert arms["A2"]["answer"]["value"] > 0
        assert arms["A1"]["bad"]["failed"]["interval"] is None

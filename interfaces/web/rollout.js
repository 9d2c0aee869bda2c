// The rollout as an operator sees it: the share, the plan, both arms, the guard's evidence, the history.

import { connect, Problem } from "./client.js";

const PATH = "/api/v1/rollout";
const EVERY_MS = 5000;
const COLOURS = ["--water", "--good", "--bad", "--ink", "--soft"];
const find = (id) => document.getElementById(id);
const percent = (share) => (share === null ? "–" : `${Number(share.toPrecision(4))} %`);
const { call } = connect();
let shown = null;

async function refresh() {
  try {
    show(await call("GET", PATH));
    complain("");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    complain(problem.status === 404 ? "Only admins see the rollout: SLUICE_ADMINS names them." : problem.message);
  }
}

function complain(text) {
  find("problem").textContent = text;
  find("problem").hidden = !text;
}

function show(rollout) {
  shown = rollout;
  find("share").textContent = percent(rollout.share);
  find("source").textContent = `${rollout.reason}, from ${rollout.source}; ENABLE_TOKEN_STREAMING is ${rollout.environment}`;
  showPlan(rollout.plan, rollout.share);
  rows("arms", armRows(rollout.arms));
  showGuard(rollout.guard);
  rows("history", (rollout.history ?? []).map((one) =>
    [new Date(one.at).toLocaleString(), one.by, percent(one.from), percent(one.to), one.why ?? ""]));
}

function rows(id, cells) {
  find(id).replaceChildren(...cells.map((row) => {
    const line = document.createElement("tr");
    line.append(...row.map((text, at) => {
      const cell = document.createElement(at ? "td" : "th");
      cell.textContent = text;
      return cell;
    }));
    return line;
  }));
}

function showPlan(plan, share) {
  find("plan").textContent = plan === null ? "None. sluice rollout start PLAN begins one."
    : `${plan.state.replace("_", " ")}, at ${percent(share)} since ${new Date(plan.since).toLocaleString()}`;
  find("steps").replaceChildren(...(plan?.steps ?? []).map((step) => {
    const item = document.createElement("li");
    item.textContent = percent(step.share);
    if (step.share === share) item.setAttribute("aria-current", "step");
    return item;
  }));
}

function armRows(arms) {
  if (!arms) return [["no figures while their store is away", "", ""]];
  const both = (read) => ["A1", "A2"].map((arm) => read(arms[arm]));
  const seconds = (time) => (time === null ? "–" : `${time.value.toFixed(2)} s${between(time.low, time.high, (v) => v.toFixed(2))}`);
  const part = (bad) => (bad?.interval ? `${bad.count} of ${bad.of}${between(...bad.interval, (v) => `${(100 * v).toFixed(1)} %`)}` : "–");
  return [
    ["jobs", ...both((arm) => String(arm.jobs))],
    ["users", ...both((arm) => String(arm.users))],
    ["first character, median", ...both((arm) => seconds(arm.first_character))],
    ["whole answer, median", ...both((arm) => seconds(arm.answer))],
    ...Object.keys({ ...arms.A1.bad, ...arms.A2.bad }).map((name) => [name, ...both((arm) => part(arm.bad[name]))]),
  ];
}

const between = (low, high, said) => ` (${low === null ? "?" : said(low)} to ${high === null ? "?" : said(high)})`;

function showGuard(looks) {
  find("verdict").textContent = looks[0]?.sentence ?? "It has not looked yet.";
  find("plot").replaceChildren(...(looks.length ? [plot([...looks].reverse())] : []));
}

/** Evidence over time, on a logarithmic scale: at the dashed line it would step back. */
function plot(looks) {
  const [width, height, left, low, high] = [640, 200, 36, -2, 3];
  const begin = Date.parse(looks[0].at), end = Math.max(Date.parse(looks.at(-1).at), begin + 1);
  const x = (at) => left + ((Date.parse(at) - begin) / (end - begin)) * (width - left - 8);
  const y = (value) => height - 20 - ((Math.min(high, Math.max(low, Math.log10(value))) - low) / (high - low)) * (height - 32);
  const drawn = [];
  for (let power = low; power <= high; power++) {
    drawn.push(made("line", { x1: left, x2: width, y1: y(10 ** power), y2: y(10 ** power), stroke: "var(--line)" }));
    drawn.push(made("text", { x: 2, y: y(10 ** power) + 4, fill: "var(--soft)" }, String(10 ** power)));
  }
  const bound = Math.min(...Object.values(looks.at(-1).needed ?? {}).filter(Number));
  if (Number.isFinite(bound)) {
    drawn.push(made("line", { x1: left, x2: width, y1: y(bound), y2: y(bound), stroke: "var(--bad)", "stroke-dasharray": "4 4" }));
  }
  const names = Object.keys(looks.at(-1).evidence ?? {});
  names.forEach((name, at) => {
    const points = looks.filter((look) => look.evidence?.[name] > 0)
      .map((look) => `${x(look.at).toFixed(1)},${y(look.evidence[name]).toFixed(1)}`).join(" ");
    const stroke = `var(${COLOURS[at % COLOURS.length]})`;
    drawn.push(made("polyline", { points, fill: "none", stroke, "stroke-width": 2 }));
    drawn.push(made("text", { x: left + at * 110, y: height - 4, fill: stroke }, name));
  });
  const label = `Evidence by metric: ${names.map((name) => `${name} ${looks.at(-1).evidence[name]}`).join(", ")}`;
  const svg = made("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  svg.append(...drawn);
  return svg;
}

function made(tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

async function change(share, why) {
  find("confirm-text").textContent = `Turn the share from ${percent(shown.share)} to ${percent(share)}?`;
  find("confirm").returnValue = "";
  find("confirm").showModal();
  await new Promise((closed) => find("confirm").addEventListener("close", closed, { once: true }));
  if (find("confirm").returnValue !== "yes") return;
  const newest = shown.history?.[0]?.number ?? 0;
  try {
    show(await call("PUT", PATH, { body: { share, ...(why && { why }) }, more: { "If-Match": `"${newest}"` } }));
    find("change").reset();
    complain("");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    await refresh();
    complain(problem.message);
  }
}

find("change").addEventListener("submit", (event) => {
  event.preventDefault();
  if (shown) change(Number(find("new-share").value), find("why").value.trim());
});
find("stop").addEventListener("click", () => { if (shown) change(0, find("why").value.trim()); });
refresh();
setInterval(() => { if (!document.hidden && !find("confirm").open) refresh(); }, EVERY_MS);

// What an answer is, as a fold over its job's events. No DOM here: this module runs in Node as well.

export const fresh = (askedAt = null) => ({
  askedAt,
  cursor: "",
  text: "",
  stages: [],
  beside: [],
  asked: [],
  progress: 0,
  tokens: 0,
  firstTokenAt: null,
  lastTokenAt: null,
  end: null,
  endedAt: null,
});

const parse = (id) => (/^\d+-\d+$/.test(id) ? id.split("-").map(Number) : [0, 0]);

function comesAfter(id, cursor) {
  const [attempt, seq] = parse(id);
  const [lastAttempt, lastSeq] = parse(cursor);
  return attempt > lastAttempt || (attempt === lastAttempt && seq > lastSeq);
}

/** `event` is {name, id, data, at}; returns the next state, the same one for an event seen before. */
export function fold(state, event) {
  const { name, id, data, at } = event;
  const replay = name === "reset" && data.reason === "cursor_unknown";
  if (state.end || !(replay || comesAfter(id, state.cursor))) return state;
  const goesOn = name !== "needs_input" && state.asked.length ? { asked: [] } : {};
  return { ...state, ...goesOn, ...(CHANGES[name]?.(state, data, at, id) ?? {}), cursor: id };
}

const CHANGES = {
  stage: (state, data, at) => ({
    stages: withStage(state.stages, data, at),
    progress: Math.max(state.progress, data.progress),
  }),
  token: (state, data, at, id) => ({
    text: state.text + data.content,
    tokens: state.tokens + tokensUpTo(id, state.cursor),
    firstTokenAt: state.firstTokenAt ?? at,
    lastTokenAt: at,
  }),
  tool: (state, data) => ({ beside: withTool(state.beside, data) }),
  reasoning: (state, data) => ({ beside: withThought(state.beside, data) }),
  data: (state, { name, data }) => ({ beside: [...state.beside, { kind: "data", name, data }] }),
  // What is asked at once expires at once: one that expires later follows on answered ones.
  needs_input: (state, data) => ({
    asked: [...state.asked.filter((one) => one.expires_at === data.expires_at), data],
  }),
  reset: (state, data) => ({
    text: "",
    tokens: 0,
    firstTokenAt: null,
    lastTokenAt: null,
    ...(data.reason === "revised" ? {} : { stages: [], beside: [], progress: 0 }),
  }),
  done: (state, data, at) => ({ ...ended("done", state, data, at), progress: 100 }),
  error: (state, data, at) => ended("error", state, data, at),
  cancelled: (state, data, at) => ended("cancelled", state, data, at),
};

const ended = (name, state, data, at) => ({
  end: { name, ...data },
  endedAt: at,
  stages: state.stages.map((stage) =>
    stage.status === "running" ? { ...stage, status: "stopped", endedAt: at } : stage),
  beside: state.beside.map((item) => (isOpen(item) ? { ...item, status: "stopped" } : item)),
});

const isOpen = (item) => item.kind === "tool" && !["completed", "failed", "stopped"].includes(item.status);

// A model may use the id of a call that is over for another one.
function withTool(beside, { call_id: id, ...more }) {
  const found = beside.findLast((item) => item.id === id && isOpen(item));
  const next = { kind: "tool", parent: null, arguments: null, result: null, ...found, id, ...more };
  return found ? beside.map((item) => (item === found ? next : item)) : [...beside, next];
}

function withThought(beside, { content, node }) {
  const last = beside.at(-1);
  if (last?.kind !== "reasoning" || last.node !== node) {
    return [...beside, { kind: "reasoning", node, text: content }];
  }
  return [...beside.slice(0, -1), { ...last, text: last.text + content }];
}

// Joined are tokens of one node that follow one another, so the jump says how many are in this one.
function tokensUpTo(id, cursor) {
  const [attempt, seq] = parse(id);
  const [lastAttempt, lastSeq] = parse(cursor);
  return attempt === lastAttempt ? seq - lastSeq : 1;
}

function withStage(stages, { stage: name, status, message }, at) {
  const found = stages.find((stage) => stage.name === name);
  const begins = status === "started";
  const next = {
    name,
    status: begins ? "running" : status,
    message: message ?? found?.message ?? "",
    column: found?.column ?? columnFor(stages),
    runs: (found?.runs ?? 0) + (begins ? 1 : 0),
    startedAt: begins ? at : (found?.startedAt ?? null),
    endedAt: begins ? null : at,
  };
  return found ? stages.map((stage) => (stage === found ? next : stage)) : [...stages, next];
}

// A stage that starts while its neighbours still run stands beside them, any other one after them.
function columnFor(stages) {
  const last = Math.max(0, ...stages.map((stage) => stage.column));
  const running = stages.some((stage) => stage.column === last && stage.status === "running");
  return running ? last : last + 1;
}

export const answerOf = (state) => (state.end?.name === "done" ? state.end.answer : state.text);

/** Seconds and rates as this page saw them; empty for a job it only replays. */
export function pace({ askedAt, tokens, firstTokenAt, lastTokenAt, endedAt }) {
  if (askedAt === null) return {};
  const speaking = (lastTokenAt - firstTokenAt) / 1000;
  return {
    firstToken: firstTokenAt === null ? null : (firstTokenAt - askedAt) / 1000,
    tokensPerSecond: tokens > 1 && speaking > 0.2 ? (tokens - 1) / speaking : null,
    total: endedAt === null ? null : (endedAt - askedAt) / 1000,
  };
}

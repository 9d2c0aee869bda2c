// LangGraph's JavaScript SDK, unmodified, and its classic `useStream` in a page.
import {Client} from "@langchain/langgraph-sdk";
import {createElement} from "react";
import {run, sha256, until} from "./scenarios.mjs";

const STREAMED = ["values", "messages-tuple", "custom"];
const opened = ({url, key}) => new Client({apiUrl: `${url}/langgraph`, apiKey: key ?? "unused"});
const asking = (content, id) => ({messages: [{type: "human", content, ...(id && {id})}]});
const texts = messages => messages.map(({type, id, content}) => ({type, id, content}));

function fold(parts) {
  const said = {};
  for (const {event, data} of parts) {
    if (event !== "messages") continue;
    said[data[0].id] = (said[data[0].id] ?? "") + data[0].content;
  }
  return said;
}

async function asked(client, thread, payload) {
  const parts = [];
  for await (const part of client.runs.stream(thread, "agent", {streamMode: STREAMED, ...payload}))
    parts.push(part);
  return parts;
}

// A page with one hook; `look` is what it shows now.
async function page(options, {storage = {}} = {}) {
  if (!globalThis.document) {
    const {JSDOM} = await import("jsdom");
    const {window} = new JSDOM("<main></main>", {url: "http://localhost/"});
    Object.assign(globalThis, {window, document: window.document});
    Object.defineProperty(globalThis, "navigator", {value: window.navigator, configurable: true});
  }
  const {createRoot} = await import("react-dom/client");
  const {useStream} = await import("@langchain/langgraph-sdk/react");
  const look = {events: [], errors: [], finished: 0};
  const kept = {
    getItem: key => storage[key] ?? null,
    setItem: (key, value) => { storage[key] = value; },
    removeItem: key => { delete storage[key]; },
  };
  const Page = () => {
    look.stream = useStream({
      assistantId: "agent",
      onThreadId: id => { look.thread = id; },
      onCreated: ({run_id}) => { look.run = run_id; },
      onCustomEvent: event => look.events.push(event),
      onError: error => look.errors.push(String(error)),
      onFinish: () => { look.finished += 1; },
      ...options,
      reconnectOnMount: options.reconnectOnMount && (() => kept),
    });
    look.messages = texts(look.stream.messages);
    look.watch?.(look.stream.messages);
    return createElement("p", null, look.messages.map(each => each.content).join("|"));
  };
  const root = createRoot(document.body.appendChild(document.createElement("div")));
  root.render(createElement(Page));
  await until(() => look.stream);
  look.leave = () => root.unmount();
  return look;
}

const idle = look => !look.stream.isLoading;
const told = look => ({
  messages: look.messages, events: look.events, errors: look.errors, finished: look.finished,
  error: look.stream.error == null ? null : String(look.stream.error),
});

await run({
  async asks({url, question}) {
    const client = opened({url});
    const {thread_id: thread} = await client.threads.create();
    let created;
    const parts = await asked(client, thread, {
      input: asking(question, "h1"), onRunCreated: given => { created = given; },
    });
    const {run_id: id} = parts[0].data;
    return {
      created, thread, run: id, said: fold(parts), last: parts.at(-1).event,
      values: parts.filter(({event}) => event === "values").map(({data}) => data.messages),
      state: (await client.threads.getState(thread)).values.messages,
      status: (await client.runs.get(thread, id)).status,
      joined: (await client.runs.join(thread, id)).messages,
      found: (await client.threads.search()).map(each => each.thread_id),
    };
  },

  async is_refused({url}) {
    const client = opened({url});
    const {thread_id: thread} = await client.threads.create();
    const {status, message} = await asked(client, thread, {input: {}}).catch(error => error);
    return {status, message};
  },

  async is_cut({url, chats, question}) {
    const client = opened({url});
    return Promise.all(Array.from({length: chats}, async () => {
      const {thread_id: thread} = await client.threads.create();
      const parts = await asked(client, thread, {input: asking(question)});
      const said = Object.values(fold(parts));
      return {sha256: sha256(said.join("")), messages: said.length, last: parts.at(-1).event};
    }));
  },

  async page_is_asked({url, question, value}) {
    const look = await page({apiUrl: `${url}/langgraph`, fetchStateHistory: true});
    await look.stream.submit(asking(question));
    await until(() => idle(look) && look.stream.interrupt);
    const {thread, run, messages: before, stream: {interrupt}} = look;
    const client = opened({url});
    const waits = (await client.runs.get(thread, run)).status;
    const {next, tasks} = await client.threads.getState(thread);
    await look.stream.submit(undefined, {command: {resume: value}});
    await until(() => idle(look) && look.messages.at(-1).content !== before.at(-1).content);
    return {...told(look), before, interrupt, waits, next, tasks, runs: [run, look.run],
      left: look.stream.interrupt ?? null, status: (await client.runs.get(thread, look.run)).status};
  },

  async page_is_asked_twice({url, question, values}) {
    const look = await page({apiUrl: `${url}/langgraph`, fetchStateHistory: true});
    await look.stream.submit(asking(question));
    await until(() => idle(look) && look.stream.interrupts.length === 2);
    const asked = look.stream.interrupts.map(({id, value}) => ({id, value}));
    await look.stream.submit(undefined, {command: {resume: values}});
    await until(() => idle(look) && !look.stream.interrupts.length && look.finished === 2);
    return {...told(look), asked};
  },

  // Asked and answered without a cut; what it goes on with is cut.
  async resumed_is_cut({url, whole, chats, question, value}) {
    const [client, direct] = [opened({url}), opened({url: whole})];
    return Promise.all(Array.from({length: chats}, async () => {
      const {thread_id: thread} = await direct.threads.create();
      await asked(direct, thread, {input: asking(question)});
      const parts = await asked(client, thread, {input: null, command: {resume: value}});
      const said = Object.values(fold(parts));
      return {sha256: sha256(said.join("")), messages: said.length, last: parts.at(-1).event};
    }));
  },

  async page_told_beside({url, question}) {
    const look = await page({apiUrl: `${url}/langgraph`});
    const seen = [];
    look.watch = messages => seen.push(messages.map(one => one.type).join(" "));
    await look.stream.submit(asking(question));
    await until(() => idle(look));
    const state = await opened({url}).threads.getState(look.thread);
    return {...told(look), messages: look.stream.messages, seen, state: state.values.messages};
  },

  async page_asks({url, questions}) {
    const look = await page({apiUrl: `${url}/langgraph`});
    for (const question of questions) {
      await look.stream.submit(asking(question));
      await until(() => idle(look));
    }
    return told(look);
  },

  // As agent-chat-ui's button does: without an input, from the checkpoint before the answer.
  async page_asks_anew({url, question}) {
    const look = await page({apiUrl: `${url}/langgraph`, fetchStateHistory: true});
    await look.stream.submit(asking(question));
    await until(() => idle(look) && look.messages.length === 2);
    const answer = look.stream.messages.at(-1);
    const checkpoint = look.stream.getMessagesMetadata(answer)?.firstSeenState?.parent_checkpoint;
    await look.stream.submit(undefined, {checkpoint, streamMode: ["values"]});
    await until(() => idle(look) && look.messages.length === 3);
    return told(look);
  },

  async page_stops({url, question, reconnect}) {
    const options = {apiUrl: `${url}/langgraph`, fetchStateHistory: true};
    const look = await page({...options, reconnectOnMount: reconnect});
    look.stream.submit(asking(question));
    await until(() => look.messages.at(-1)?.type === "ai" && look.messages.at(-1).content);
    const {thread, run: id} = look;
    await look.stream.stop();
    await until(() => idle(look) && look.messages.at(-1)?.type === "ai");
    return {...told(look), thread, run: id};
  },

  async page_reloads({url, question}) {
    const storage = {};
    const options = {apiUrl: `${url}/langgraph`, reconnectOnMount: true, fetchStateHistory: true};
    const first = await page(options, {storage});
    first.stream.submit(asking(question, "h1"));
    await until(() => first.messages.at(-1)?.type === "ai" && first.messages.at(-1).content);
    const {thread} = first;
    first.leave();
    storage[`lg:stream:${thread}`] ??= first.run;
    const second = await page({...options, threadId: thread}, {storage});
    await until(() => second.finished && idle(second));
    return told(second);
  },

  async two_tabs({url, question}) {
    const options = {apiUrl: `${url}/langgraph`};
    const one = await page(options);
    one.stream.submit(asking(question, "h1"));
    await until(() => one.messages.at(-1)?.type === "ai" && one.messages.at(-1).content);
    const other = await page({...options, threadId: one.thread});
    other.stream.joinStream(one.run, "-1", {streamMode: STREAMED});
    await until(() => one.finished && idle(one) && other.finished && idle(other));
    return [told(one), told(other)];
  },
});

// LangGraph's Agent Streaming Protocol: `@langchain/react` in a page, and the newer SDK's controller.
import {Client} from "@langchain/langgraph-sdk";
import {StreamController} from "@langchain/langgraph-sdk/stream";
import {createElement} from "react";
import {run, sha256, until} from "./scenarios.mjs";

const asking = content => ({messages: [{type: "human", content}]});
const texts = messages => messages.map(one => ({type: one.getType?.() ?? one.type, id: one.id, content: one.text ?? one.content}));
const waits = () => 5;

async function page({url, thread, stages}) {
  if (!globalThis.document) {
    const {JSDOM} = await import("jsdom");
    const {window} = new JSDOM("<main></main>", {url: "http://localhost/"});
    Object.assign(globalThis, {window, document: window.document});
    Object.defineProperty(globalThis, "navigator", {value: window.navigator, configurable: true});
  }
  const {createRoot} = await import("react-dom/client");
  const {useChannel, useStream} = await import("@langchain/react");
  const look = {};
  const options = {apiUrl: `${url}/langgraph`, assistantId: "agent", reconnectDelayMs: waits};
  const Page = () => {
    look.stream = useStream({
      ...options,
      threadId: thread,
      onThreadId: id => { look.thread = id; },
      onCreated: ({run_id}) => { look.run = run_id; },
    });
    look.custom = stages ? useChannel(look.stream, ["custom"]) : [];
    return createElement("p", null, texts(look.stream.messages).map(one => one.content).join("|"));
  };
  const root = createRoot(document.body.appendChild(document.createElement("div")));
  root.render(createElement(Page));
  await until(() => look.stream);
  return {
    submit: question => look.stream.submit(asking(question)),
    stop: () => look.stream.stop(),
    respond: value => look.stream.respond(value),
    respondAll: values => look.stream.respondAll(values),
    leave: () => root.unmount(),
    get shown() { return look.stream; },
    get custom() { return look.custom.map(({params}) => params.data.payload); },
    get thread() { return look.thread ?? look.stream.threadId; },
    get run() { return look.run; },
  };
}

function controller({url, thread}) {
  let created;
  const stream = new StreamController({
    client: new Client({apiUrl: `${url}/langgraph`}),
    assistantId: "agent",
    threadId: thread ?? null,
    reconnectDelayMs: waits,
    onCreated: ({run_id}) => { created = run_id; },
  });
  const release = stream.activate();
  return {
    submit: question => stream.submit(asking(question)),
    stop: () => stream.stop(),
    respond: value => stream.respond(value),
    respondAll: values => stream.respondAll(values),
    leave: () => release?.(),
    get shown() { return stream.rootStore.getSnapshot(); },
    get thread() { return this.shown.threadId; },
    get run() { return created; },
  };
}

const open = given => (given.client === "react" ? page(given) : controller(given));
const told = client => ({
  messages: texts(client.shown.messages),
  error: client.shown.error == null ? null : String(client.shown.error.message ?? client.shown.error),
  loading: client.shown.isLoading,
  run: client.run,
});
const last = client => texts(client.shown.messages).at(-1);
const beside = client => ({
  calls: client.shown.toolCalls.map(({name, input, output, status, error}) => ({name, input, output, status, error})),
  reasoning: client.shown.messages.flatMap(one => Array.isArray(one.content) ? one.content : [])
    .filter(block => block.type === "reasoning").map(block => block.reasoning),
});
const says = client => last(client)?.type === "ai" && last(client).content;
const over = (client, messages) =>
  until(() => !client.shown.isLoading && client.shown.messages.length >= messages);

await run({
  async asks({questions, ...given}) {
    const client = await open(given);
    let messages = 0;
    for (const question of questions) {
      await client.submit(question);
      await over(client, messages += 2);
    }
    return told(client);
  },

  async is_asked({question, value, ...given}) {
    const client = await open(given);
    const submitting = Promise.resolve(client.submit(question)).catch(() => {});
    await until(() => client.shown.interrupt && says(client));
    const asked = client.shown.interrupt;
    await submitting;
    const before = texts(client.shown.messages);
    const late = await open({...given, thread: client.thread});
    await until(() => late.shown.interrupt);
    await client.respond(value);
    await until(() => !client.shown.isLoading && last(client)?.content !== before.at(-1).content);
    await until(() => !late.shown.isLoading && last(late)?.content === last(client).content);
    return {...told(client), asked, before, late: told(late), interrupt: client.shown.interrupt ?? null};
  },

  async is_asked_twice({question, values, ...given}) {
    const client = await open(given);
    const submitting = Promise.resolve(client.submit(question)).catch(() => {});
    await until(() => client.shown.interrupts.length === 2 && says(client));
    const asked = client.shown.interrupts.map(({id, value}) => ({id, value}));
    await submitting;
    const before = last(client).content;
    await client.respondAll(values);
    await until(() => !client.shown.isLoading && last(client)?.content !== before);
    return {...told(client), asked, left: client.shown.interrupts.length};
  },

  async shows_stages({question, ...given}) {
    const client = await open({...given, stages: true});
    await client.submit(question);
    await over(client, 2);
    await until(() => client.custom.some(one => one.status === "completed" && one.stage !== "queued"));
    return {...told(client), stages: client.custom.map(({stage, status}) => [stage, status])};
  },

  async told_beside({question, ...given}) {
    const client = await open(given);
    await client.submit(question);
    await over(client, 7);
    return {...told(client), ...beside(client)};
  },

  async fails({question, partial, ...given}) {
    const client = await open(given);
    await Promise.resolve(client.submit(question)).catch(() => {});
    await until(() => !client.shown.isLoading && client.shown.error != null);
    if (partial) await until(() => says(client));
    return told(client);
  },

  async stops({question, ...given}) {
    const client = await open(given);
    const submitting = Promise.resolve(client.submit(question)).catch(() => {});
    await until(() => says(client));
    await client.stop();
    await submitting;
    await until(() => !client.shown.isLoading && says(client));
    return {...told(client), thread: client.thread};
  },

  // Another tab, or the page after a reload, in the middle of an answer.
  async two_tabs({question, ...given}) {
    const one = await open(given);
    const submitting = one.submit(question);
    await until(() => says(one));
    const other = await open({...given, thread: one.thread});
    await submitting;
    await over(one, 2);
    await until(() => !other.shown.isLoading && last(other)?.content === last(one).content);
    return [told(one), told(other)];
  },

  async comes_later({question, ...given}) {
    const one = await open(given);
    await one.submit(question);
    await over(one, 2);
    const other = await open({...given, thread: one.thread});
    await over(other, 2);
    return [told(one), told(other)];
  },

  // The run's end may come by one stream before the other has shown all of its text.
  async is_cut({question, chats, length, value, ...given}) {
    const answers = [];
    while (answers.length < chats)
      answers.push(...await Promise.all(Array.from({length: 10}, async () => {
        const client = await open(given);
        const submitting = Promise.resolve(client.submit(question)).catch(() => {});
        if (value !== undefined) {
          await until(() => client.shown.interrupt, 40000);
          await client.respond(value);
        }
        await submitting;
        await until(() => last(client)?.type === "ai" && last(client).content.length >= length, 40000);
        await over(client, 2);
        const {messages, error} = told(client);
        client.leave();
        return {sha256: sha256(messages.at(-1).content), messages: messages.length, error};
      })));
    return answers;
  },
});

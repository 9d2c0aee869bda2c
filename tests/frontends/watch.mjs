// Every client watches one job, each by its own protocol, and says what it has at the end.
import {HttpAgent} from "@ag-ui/client";
import {Chat} from "@ai-sdk/react";
import {CopilotKitCore} from "@copilotkit/core";
import {Client} from "@langchain/langgraph-sdk";
import {StreamController} from "@langchain/langgraph-sdk/stream";
import {ChatClient, fetchServerSentEvents} from "@tanstack/ai-client";
import {DefaultChatTransport} from "ai";
import {EventSource} from "eventsource";
import OpenAI from "openai";
import {connect} from "../../interfaces/web/client.js";
import {run, until} from "./scenarios.mjs";

process.on("unhandledRejection", () => {}); // AG-UI's client leaves a promise of its own alone
globalThis.window ??= globalThis; // CopilotKit connects where there is a window

const WITHIN = 60000;
const pause = ms => new Promise(wake => setTimeout(wake, ms));
const joined = parts => parts.filter(part => part.type === "text").map(part => part.text ?? part.content).join("");
const said = messages => messages.filter(one => one.role === "assistant").map(one => one.content ?? "").join("");

// Each is given what it watches, and a place for its text; it ends when it has the whole.
const clients = {
  async langgraph({url, thread, job}, look) {
    const client = new Client({apiUrl: `${url}/langgraph`});
    const texts = {};
    for await (const {event, data} of client.runs.joinStream(thread, job, {streamMode: ["messages-tuple"]}))
      if (event === "messages") {
        texts[data[0].id] = (texts[data[0].id] ?? "") + data[0].content;
        look.text = Object.values(texts).join("");
      }
  },

  async controller({url, thread, length}, look) {
    const stream = new StreamController({
      client: new Client({apiUrl: `${url}/langgraph`}), assistantId: "a", threadId: thread, reconnectDelayMs: () => 50,
    });
    stream.activate();
    const last = () => stream.rootStore.getSnapshot().messages.at(-1);
    await until(() => {
      if (last()?.getType() === "ai") look.text = last().text;
      return look.text.length >= length && !stream.rootStore.getSnapshot().isLoading;
    }, WITHIN);
  },

  async ai({url, thread}, look) {
    const transport = new DefaultChatTransport({api: `${url}/api/chat`});
    const chat = new Chat({id: thread, transport, onError: () => look.errors++});
    const watching = setInterval(() => { if (chat.lastMessage) look.text = joined(chat.lastMessage.parts); }, 5);
    for (; chat.lastMessage?.metadata?.status !== "completed"; await pause(50)) await chat.resumeStream();
    clearInterval(watching);
    look.text = joined(chat.lastMessage.parts);
  },

  async responses({url, job}, look) {
    const openai = new OpenAI({apiKey: "none", baseURL: `${url}/v1`});
    for (let after, over = false; !over; await pause(50))
      try {
        const asked = {stream: true, ...(after !== undefined && {starting_after: after})};
        for await (const event of await openai.responses.retrieve(job, asked)) {
          after = event.sequence_number;
          if (event.type === "response.output_text.delta") look.text += event.delta;
          over = event.type === "response.completed";
        }
      } catch { look.errors++; }
  },

  async agent({url, thread, job, question}, look) {
    const agent = new HttpAgent({url: `${url}/ag-ui`, threadId: thread});
    agent.subscribe({
      onTextMessageContentEvent: ({event}) => { look.text += event.delta; },
      onRunFailed: () => look.errors++,
    });
    agent.addMessage({id: "q", role: "user", content: question});
    await agent.runAgent({runId: job}).catch(() => {});
  },

  async tanstack({url, thread, length}, look) {
    const connection = fetchServerSentEvents(`${url}/ag-ui`, {reconnect: {delayMs: 50, maxAttempts: 50}});
    const chat = new ChatClient({connection, threadId: thread, persistence: true, onError: () => look.errors++});
    chat.attach();
    await until(() => {
      look.text = chat.getMessages().filter(one => one.role === "assistant").map(one => joined(one.parts)).join("");
      return look.text.length >= length && chat.getStatus() === "ready";
    }, WITHIN);
  },

  async copilotkit({url, thread}, look) {
    const core = new CopilotKitCore({runtimeUrl: `${url}/copilotkit`});
    core.subscribe({onError: () => look.errors++});
    await until(() => core.agents.default, WITHIN);
    const agent = core.getAgent("default");
    agent.threadId = thread;
    let whole = false;
    agent.subscribe({onRunFinishedEvent: () => { whole = true; }});
    const watching = setInterval(() => { look.text = said(agent.messages); }, 5);
    for (; !whole; await pause(50)) await core.connectAgent({agent}).catch(() => {});
    clearInterval(watching);
    look.text = said(agent.messages);
  },

  async eventSource({url, job}, look) {
    const source = new EventSource(`${url}/api/v1/chat/${job}/events`);
    source.addEventListener("token", ({data}) => { look.text += JSON.parse(data).content; });
    await new Promise(over => source.addEventListener("done", over));
    source.close();
  },

  async ours({url, job}, look) {
    for await (const {name, data} of connect({base: url}).follow(`/api/v1/chat/${job}/events`))
      if (name === "token") look.text += data.content;
  },
};

await run({
  async watch({held, ...given}) {
    const looks = Object.fromEntries(Object.keys(clients).map(name => [name, {text: "", errors: 0}]));
    const watching = Object.entries(clients).map(([name, watch]) =>
      watch(given, looks[name]).catch(error => { looks[name].failed = String(error?.stack ?? error); }));
    const short = () => Object.keys(looks).filter(name => looks[name].text.length < held);
    await until(() => !short().length, WITHIN).catch(() => { throw new Error(`not there: ${short()} ${JSON.stringify(looks)}`); });
    process.stdout.write("held\n");
    await Promise.all(watching);
    return looks;
  },
});

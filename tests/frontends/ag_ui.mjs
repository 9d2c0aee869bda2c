// AG-UI's own client and TanStack AI's, unmodified.
import {HttpAgent, verifyEvents} from "@ag-ui/client";
import {ChatClient, fetchServerSentEvents} from "@tanstack/ai-client";
import {readFileSync} from "node:fs";
import {from, lastValueFrom, toArray} from "rxjs";
import {run, sha256, until} from "./scenarios.mjs";

function agent({url, threadId = "a thread", messages = []}) {
  const told = {steps: [], errors: [], failed: [], payloads: [], outcomes: [], custom: []};
  const http = new HttpAgent({url: `${url}/ag-ui`, threadId, initialMessages: messages});
  http.subscribe({
    onStepStartedEvent: ({event}) => void told.steps.push(`+${event.stepName}`),
    onStepFinishedEvent: ({event}) => void told.steps.push(`-${event.stepName}`),
    onCustomEvent: ({event}) => void told.custom.push([event.name, event.value]),
    onRunErrorEvent: ({event}) => void told.errors.push({code: event.code, message: event.message}),
    onRunFailed: ({error}) => void (told.failed.push(error.message), told.payloads.push(error.payload)),
    onRunFinishedEvent: ({event}) => void told.outcomes.push(event.outcome),
  });
  return {http, told};
}

async function ask(http, question, id = crypto.randomUUID()) {
  http.addMessage({id, role: "user", content: question});
  return await http.runAgent().then(() => true, () => false);
}

const shown = messages => messages.map(({id, role, content}) => ({id, role, content}));

function tanstack({url, threadId = "a thread", persistence}) {
  const errors = [];
  const connection = fetchServerSentEvents(`${url}/ag-ui`, {reconnect: {delayMs: 1, maxAttempts: 20}});
  const client = new ChatClient({
    connection, threadId, persistence, onError: error => errors.push(error.message),
  });
  return {client, errors};
}

const text = message =>
  message.parts.filter(part => part.type === "text").map(part => part.content).join("");
const bubbles = client => client.getMessages().map(one => ({id: one.id, role: one.role, text: text(one)}));

await run({
  async asks({url, questions, messages}) {
    process.on("unhandledRejection", () => {}); // the client leaves a promise of its own alone
    const {http, told} = agent({url, messages});
    const resolved = [];
    for (const question of questions) resolved.push(await ask(http, question, `asked ${question}`));
    return {...told, resolved, messages: shown(http.messages)};
  },

  async told_beside({url, question}) {
    const {http, told} = agent({url});
    await ask(http, question);
    return {...told, messages: http.messages};
  },

  async is_asked({url, question, payload, payloads}) {
    const {http, told} = agent({url});
    await ask(http, question);
    const asked = http.pendingInterrupts;
    const before = shown(http.messages);
    const resume = asked.map(({id}) =>
      ({interruptId: id, status: "resolved", payload: payloads?.[id] ?? payload}));
    const resolved = await http.runAgent({resume}).then(() => true, error => String(error));
    return {...told, asked, before, resolved, messages: shown(http.messages)};
  },

  async is_asked_again({url, question, payload}) {
    const {http, told} = agent({url});
    await ask(http, question);
    const asked = [];
    while (http.pendingInterrupts.length) {
      asked.push(http.pendingInterrupts.map(one => one.message));
      const resume = http.pendingInterrupts.map(({id}) => ({interruptId: id, status: "resolved", payload}));
      await http.runAgent({resume});
    }
    return {...told, asked, messages: shown(http.messages)};
  },

  async tanstack_is_asked({url, question, payload}) {
    const {client, errors} = tanstack({url});
    await client.sendMessage(question);
    await until(() => client.getInterrupts().length);
    const [asked] = client.getInterrupts();
    await asked.resolveInterrupt(payload);
    await until(() => client.getStatus() === "ready" && bubbles(client).length > 2);
    return {errors, asked: asked.message, messages: bubbles(client)};
  },

  async tanstack_is_asked_twice({url, question, payloads}) {
    const {client, errors} = tanstack({url});
    await client.sendMessage(question);
    await until(() => client.getInterrupts().length === 2);
    const asked = client.getInterrupts();
    await Promise.all(asked.map(one => one.resolveInterrupt(payloads[one.id])));
    await until(() => client.getStatus() === "ready" && bubbles(client).length > 2);
    return {errors, asked: asked.map(one => one.message), messages: bubbles(client)};
  },

  async tanstack_told_beside({url, question}) {
    const {client, errors} = tanstack({url});
    await client.sendMessage(question);
    await new Promise(resolve => setTimeout(resolve, 200)); // it might ask again by itself
    return {errors, status: client.getStatus(), messages: client.getMessages()};
  },

  async asks_anew({url, question}) {
    const {http, told} = agent({url});
    await ask(http, question);
    http.setMessages(http.messages.slice(0, 1));
    await http.runAgent();
    return {...told, messages: shown(http.messages)};
  },

  async edits({url, questions, edited}) {
    const {http, told} = agent({url});
    for (const question of questions) await ask(http, question);
    http.setMessages(http.messages.slice(0, 2));
    return {resolved: await ask(http, edited), ...told};
  },

  async is_cut({url, runs, question}) {
    process.on("unhandledRejection", () => {});
    const ends = [];
    for (let number = 0; number < runs; number++) {
      const {http, told} = agent({url, threadId: `thread ${number}`});
      const resolved = await ask(http, question);
      const answer = http.messages.find(message => message.role === "assistant");
      ends.push({resolved, failed: told.failed.length, outcomes: told.outcomes.length,
        sha256: sha256(answer?.content ?? "")});
    }
    return ends;
  },

  async tanstack_asks({url, questions}) {
    const {client, errors} = tanstack({url});
    for (const question of questions) await client.sendMessage(question);
    return {errors, status: client.getStatus(), messages: bubbles(client)};
  },

  async tanstack_asks_anew({url, question}) {
    const {client, errors} = tanstack({url});
    await client.sendMessage(question);
    await client.reload();
    return {errors, status: client.getStatus(), messages: bubbles(client)};
  },

  async tanstack_stops({url, question}) {
    const {client, errors} = tanstack({url});
    const sending = client.sendMessage(question);
    await until(() => bubbles(client).some(one => one.role === "assistant" && one.text));
    client.stop();
    await sending;
    return {errors, status: client.getStatus(), messages: bubbles(client)};
  },

  async agent_stops({url, question}) {
    process.on("unhandledRejection", () => {});
    const {http, told} = agent({url});
    const asking = ask(http, question);
    await until(() => http.messages.some(one => one.role === "assistant" && one.content));
    http.abortRun();
    await asking;
    return {errors: told.errors, messages: shown(http.messages).map(one => ({text: one.content}))};
  },

  async tanstack_is_cut({url, runs, question}) {
    const ends = [];
    for (let number = 0; number < runs; number++) {
      const {client, errors} = tanstack({url, threadId: crypto.randomUUID()});
      await client.sendMessage(question);
      const answers = bubbles(client).filter(one => one.role === "assistant");
      ends.push({errors, answers: answers.length, sha256: sha256(answers[0]?.text ?? "")});
    }
    return ends;
  },

  async tanstack_reloads({url, question}) {
    const first = tanstack({url});
    const sending = first.client.sendMessage(question);
    await until(() => bubbles(first.client).some(one => one.role === "assistant" && one.text));
    const second = tanstack({url, persistence: true});
    second.client.attach();
    await until(() => bubbles(second.client).some(one => one.role === "assistant" && one.text));
    await sending;
    await until(() => second.client.getStatus() === "ready");
    const third = tanstack({url, persistence: true});
    third.client.attach();
    await until(() => bubbles(third.client).length === 2);
    return [first, second, third].map(({client, errors}) => ({errors, messages: bubbles(client)}));
  },

  // Each line of the file is one run: its events, as JSON.
  async validates({file}) {
    const wrong = [];
    for (const line of readFileSync(file, "utf8").split("\n").filter(Boolean)) {
      const events = JSON.parse(line);
      try {
        await lastValueFrom(from(events).pipe(verifyEvents(false), toArray()));
      } catch (error) {
        wrong.push({error: error.message, events});
      }
    }
    return wrong;
  },
});

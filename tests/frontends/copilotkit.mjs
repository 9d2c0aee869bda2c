// CopilotKit's own core, unmodified, with Sluice as its runtime.
import {CopilotKitCore} from "@copilotkit/core";
import {run, until} from "./scenarios.mjs";

process.on("unhandledRejection", () => {}); // AG-UI's client leaves a promise of its own alone

async function open({url, threadId = "a thread"}) {
  globalThis.window ??= globalThis; // it connects where there is a window
  const errors = [];
  const core = new CopilotKitCore({runtimeUrl: `${url}/copilotkit`});
  const texts = [];
  core.subscribe({onError: ({code, error}) => void (errors.push(code), texts.push(error.message))});
  await until(() => core.agents.default);
  const agent = core.getAgent("default");
  agent.threadId = threadId;
  const steps = [], runErrors = [];
  agent.subscribe({
    onStepStartedEvent: ({event}) => void steps.push(event.stepName),
    onRunErrorEvent: ({event}) => void runErrors.push(event.code),
  });
  return {core, agent, errors, texts, steps, runErrors};
}

async function ask({core, agent}, question) {
  agent.addMessage({id: crypto.randomUUID(), role: "user", content: question});
  return await core.runAgent({agent}).then(() => true, () => false);
}

const shown = agent => agent.messages.map(({role, content}) => [role, content]);
const said = agent => agent.messages.some(one => one.role === "assistant" && one.content);

await run({
  async asks({url, questions}) {
    const page = await open({url});
    for (const question of questions) await ask(page, question);
    const {errors, texts, steps, runErrors, agent} = page;
    return {errors, texts, steps, runErrors, messages: shown(agent)};
  },

  async is_asked({url, question, payload, payloads}) {
    const page = await open({url});
    await ask(page, question);
    const again = await open({url});
    await again.core.connectAgent({agent: again.agent});
    const asked = again.agent.pendingInterrupts;
    const resume = asked.map(({id}) =>
      ({interruptId: id, status: "resolved", payload: payloads?.[id] ?? payload}));
    await again.agent.runAgent({resume});
    return {asked, errors: [...page.errors, ...again.errors], messages: shown(again.agent)};
  },

  async told_beside({url, question}) {
    const page = await open({url});
    await ask(page, question);
    return {errors: page.errors, messages: page.agent.messages};
  },

  async connects({url, question}) {
    const [one, two] = [await open({url}), await open({url})];
    const asking = ask(one, question);
    await until(() => said(one.agent));
    await two.core.connectAgent({agent: two.agent});
    await asking;
    const three = await open({url});
    await three.core.connectAgent({agent: three.agent});
    const fresh = await open({url, threadId: "a new thread"});
    await fresh.core.connectAgent({agent: fresh.agent});
    return [one, two, three, fresh].map(({agent, errors}) => ({messages: shown(agent), errors}));
  },

  async is_cut({url, whole, runs, question}) {
    const ends = [];
    for (let number = 0; number < runs; number++) {
      const page = await open({url, threadId: `thread ${number}`});
      let finished = 0;
      page.agent.subscribe({onRunFinishedEvent: () => void finished++});
      await ask(page, question);
      const again = await open({url: whole, threadId: `thread ${number}`});
      await again.core.connectAgent({agent: again.agent});
      ends.push({errors: page.errors.length, finished, messages: shown(page.agent), again: shown(again.agent)});
    }
    return ends;
  },

  async stops({url, question}) {
    const page = await open({url});
    const asking = ask(page, question);
    await until(() => said(page.agent));
    page.core.stopAgent({agent: page.agent});
    await asking;
    return {messages: shown(page.agent), errors: page.errors};
  },
});

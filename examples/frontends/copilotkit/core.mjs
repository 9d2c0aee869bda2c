// npm install @copilotkit/core; node core.mjs http://127.0.0.1:8000 "How do I resume a stream?"
import {CopilotKitCore} from "@copilotkit/core";

const [, , base, question] = process.argv;
globalThis.window ??= globalThis; // outside of a browser it does not connect otherwise
const core = new CopilotKitCore({runtimeUrl: `${base}/copilotkit`});
await new Promise(resolve => core.subscribe({onAgentsChanged: ({agents}) => agents.default && resolve()}));
const agent = core.getAgent("default");
agent.addMessage({id: crypto.randomUUID(), role: "user", content: question});
await core.runAgent({agent});
console.log(agent.messages.at(-1).content);
process.exit(0);

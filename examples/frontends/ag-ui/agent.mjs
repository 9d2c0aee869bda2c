// npm install @ag-ui/client; node agent.mjs http://127.0.0.1:8000 "How do I resume a stream?"
import {HttpAgent} from "@ag-ui/client";

const [, , base, question] = process.argv;
const agent = new HttpAgent({url: `${base}/ag-ui`, threadId: crypto.randomUUID()});
agent.addMessage({id: crypto.randomUUID(), role: "user", content: question});
let outcome;
await agent.runAgent({}, {
  onStepStartedEvent: ({event}) => console.error(event.stepName),
  onRunFinishedEvent: ({event}) => void (outcome = event.outcome.type),
});
// A run that did not finish is no answer, however it looks.
if (outcome !== "success") process.exit(1);
console.log(agent.messages.at(-1).content);

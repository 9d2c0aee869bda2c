// npm install @langchain/langgraph-sdk; node chat.mjs http://127.0.0.1:8000 "How do I resume a stream?"
import {Client} from "@langchain/langgraph-sdk";

const [, , base, question] = process.argv;
const client = new Client({apiUrl: `${base}/langgraph`});
const {thread_id: thread} = await client.threads.create();
const run = client.runs.stream(thread, "sluice", {
  input: {messages: [{type: "human", content: question}]},
  streamMode: ["values", "messages-tuple", "custom"],
});
let answer;
// A cut is nothing to see here: the client goes on by itself, where it was.
for await (const {event, data} of run) {
  if (event === "custom") console.error(`${data.stage}: ${data.status}`);
  if (event === "messages") process.stderr.write(data[0].content);
  if (event === "values") answer = data.messages.at(-1).content;
  if (event === "error") throw new Error(`${data.error}: ${data.message}`);
}
console.log(answer);

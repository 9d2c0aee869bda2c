// npm install @tanstack/ai-client; node tanstack.mjs http://127.0.0.1:8000 "How do I resume a stream?"
import {ChatClient, fetchServerSentEvents} from "@tanstack/ai-client";

const [, , base, question] = process.argv;
const chat = new ChatClient({
  threadId: crypto.randomUUID(),
  connection: fetchServerSentEvents(`${base}/ag-ui`),
});
await chat.sendMessage(question);
if (chat.getError()) throw chat.getError();
for (const part of chat.getMessages().at(-1).parts) if (part.type === "text") console.log(part.content);
process.exit(0);

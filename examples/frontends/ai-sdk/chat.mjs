// npm install ai @ai-sdk/react; node chat.mjs http://127.0.0.1:8000 "How do I resume a stream?"
import {Chat} from "@ai-sdk/react";
import {DefaultChatTransport} from "ai";

const [, , base, question] = process.argv;
const chat = new Chat({
  id: crypto.randomUUID(),
  transport: new DefaultChatTransport({api: `${base}/api/chat`}),
});
await chat.sendMessage({text: question});
// Without a status the stream broke before its end: read it again, the whole answer comes.
for (let tries = 0; tries < 5 && !chat.lastMessage.metadata?.status; tries++) await chat.resumeStream();
for (const part of chat.lastMessage.parts) {
  if (part.type === "data-stage") console.error(`${part.data.stage}: ${part.data.status}`);
  if (part.type === "text") console.log(part.text);
}

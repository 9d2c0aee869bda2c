// A page as an application writes it: its own origin, useChat, and a stop that stops.
import {useChat} from "@ai-sdk/react";
import {DefaultChatTransport} from "ai";
import {createRoot} from "react-dom/client";

const base = new URLSearchParams(location.search).get("base");
const transport = new DefaultChatTransport({api: `${base}/api/chat`});
const stop = id => fetch(`${base}/api/chat/${id}/stop`, {method: "POST"});

function Page() {
  const {id, messages, sendMessage, status} = useChat({id: "page", transport, resume: true});
  return <main data-status={status}>
    <button onClick={() => sendMessage({text: "How do I resume a stream?"})}>Ask</button>
    <button onClick={() => stop(id)}>Stop</button>
    {messages.map(message => <article key={message.id} data-end={message.metadata?.status} className={message.role}>
      {message.parts.map((part, index) =>
        part.type === "data-stage" ? <i key={index}>{part.data.stage}: {part.data.status}</i> :
        part.type === "text" ? <pre key={index}>{part.text}</pre> : null)}
    </article>)}
  </main>;
}

createRoot(document.querySelector("#root")).render(<Page/>);

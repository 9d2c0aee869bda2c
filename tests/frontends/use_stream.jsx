// A page of agent-chat-ui's kind: the classic useStream, its thread kept over a reload.
import {useStream} from "@langchain/langgraph-sdk/react";
import {useState} from "react";
import {createRoot} from "react-dom/client";

const base = new URLSearchParams(location.search).get("base");
const text = content => typeof content === "string" ? content
  : content.filter(block => block.type === "text").map(block => block.text).join("");

function Page() {
  const [threadId, setThreadId] = useState(() => sessionStorage.getItem("thread"));
  const [stages, setStages] = useState([]);
  const stream = useStream({
    apiUrl: `${base}/langgraph`, assistantId: "agent", threadId,
    reconnectOnMount: true, fetchStateHistory: true,
    onThreadId: id => { sessionStorage.setItem("thread", id); setThreadId(id); },
    onCustomEvent: event => setStages(all => [...all, `${event.stage}: ${event.status}`]),
  });
  const ask = content => stream.submit({messages: [{type: "human", content}]}, {streamResumable: true});
  return <main data-status={stream.isLoading ? "loading" : "ready"}>
    <button onClick={() => ask("How do I resume a stream?")}>Ask</button>
    {stages.map((stage, index) => <i key={index}>{stage}</i>)}
    {stream.messages.map(message => <article key={message.id} className={message.type}><pre>{text(message.content)}</pre></article>)}
  </main>;
}

createRoot(document.querySelector("#root")).render(<Page/>);

// npm install @langchain/react react; a page with one thread, which goes on after every cut.
import {useStream} from "@langchain/react";

export function Chat({apiUrl, threadId}) {
  const stream = useStream({apiUrl, assistantId: "sluice", threadId});
  const ask = event => {
    event.preventDefault();
    const content = new FormData(event.currentTarget).get("question");
    stream.submit({messages: [{type: "human", content}]});
    event.currentTarget.reset();
  };
  return (
    <form onSubmit={ask}>
      {stream.messages.map(message => <p key={message.id}>{message.text}</p>)}
      {stream.error && <p role="alert">{String(stream.error.message)}</p>}
      <input name="question" />
      {stream.isLoading ? <button type="button" onClick={() => stream.stop()}>Stop</button> : <button>Ask</button>}
    </form>
  );
}

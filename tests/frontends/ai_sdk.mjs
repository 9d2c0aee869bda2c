// The AI SDK's own client, unmodified: `Chat` as a program uses it, `useChat` as a page does.
import {Chat} from "@ai-sdk/react";
import * as ai5 from "ai-v5";
import * as ai6 from "ai-v6";
import * as ai7 from "ai";
import {readFileSync} from "node:fs";
import {run, sha256, until} from "./scenarios.mjs";

const text = message =>
  message.parts.filter(part => part.type === "text").map(part => part.text).join("");
const shown = chat => chat.messages.map(message => ({
  role: message.role,
  id: message.id,
  text: text(message),
  texts: message.parts.filter(part => part.type === "text").length,
  stages: message.parts.filter(part => part.type === "data-stage").map(part => part.data),
  resets: message.parts.filter(part => part.type === "data-reset").map(part => part.data),
  metadata: message.metadata,
  beside: message.parts.filter(part => /^(dynamic-tool|reasoning|data-sources)$/.test(part.type)),
}));
const told = (chat, errors) =>
  ({status: chat.status, statusCode: chat.error?.statusCode, errors, messages: shown(chat)});

// What a framework's binding adds to the SDK's own chat: somewhere to keep the messages.
const plain = ({AbstractChat}) => class extends AbstractChat {
  constructor({messages = [], ...options}) {
    const state = {
      messages,
      status: "ready",
      pushMessage: message => void (state.messages = [...state.messages, message]),
      popMessage: () => void (state.messages = state.messages.slice(0, -1)),
      replaceMessage: (index, message) => void (state.messages = state.messages.with(index, message)),
      snapshot: value => structuredClone(value),
    };
    super({...options, state});
  }
};

// The message that the version's own reader makes of a stream.
async function read({readUIMessageStream}, chunks) {
  const stream = new ReadableStream({start(controller) {
    for (const chunk of chunks) controller.enqueue(chunk);
    controller.close();
  }});
  let last;
  for await (const message of readUIMessageStream({stream, terminateOnError: true})) last = message;
  return last;
}

const versions = {5: [ai5, plain(ai5)], 6: [ai6, plain(ai6)], 7: [ai7, Chat]};

function open({url, id = "a chat", messages, compat}) {
  const errors = [];
  const [{DefaultChatTransport}, Chat] = versions[compat ?? 7];
  const transport = new DefaultChatTransport({
    api: `${url}/api/chat`,
    prepareReconnectToStreamRequest: compat && (({api, id}) => ({api: `${api}/${id}/stream?compat=${compat}`})),
    prepareSendMessagesRequest: compat && (({api, id, messages, trigger, messageId}) =>
      ({api: `${api}?compat=${compat}`, body: {id, messages, trigger, messageId}})),
  });
  const sendAutomaticallyWhen = options => chat.sendsWhen?.(options) ?? false;
  const chat = new Chat({id, messages, transport, sendAutomaticallyWhen, onError: error => errors.push(error.message)});
  return {chat, errors};
}

const whole = chat => chat.lastMessage?.role === "assistant" && chat.lastMessage.metadata?.status;

await run({
  async asks({url, questions, compat}) {
    const {chat, errors} = open({url, compat});
    for (const question of questions) await chat.sendMessage({text: question});
    return told(chat, errors);
  },

  async is_asked({url, question, approved}) {
    const {chat, errors} = open({url});
    chat.sendsWhen = ai7.lastAssistantMessageIsCompleteWithApprovalResponses;
    await chat.sendMessage({text: question});
    const before = shown(chat);
    const asked = chat.lastMessage.parts.find(part => part.state === "approval-requested");
    await chat.addToolApprovalResponse({id: asked.approval.id, approved});
    await until(() => chat.lastMessage.metadata?.status === "completed");
    await new Promise(resolve => setTimeout(resolve, 200)); // it might ask again by itself
    return {asked: asked.input, before, ...told(chat, errors)};
  },

  async is_asked_twice({url, question, approved}) {
    const {chat, errors} = open({url});
    chat.sendsWhen = ai7.lastAssistantMessageIsCompleteWithApprovalResponses;
    await chat.sendMessage({text: question});
    const asked = chat.lastMessage.parts.filter(part => part.state === "approval-requested");
    for (const [number, part] of asked.entries())
      await chat.addToolApprovalResponse({id: part.approval.id, approved: approved[number]});
    await until(() => chat.lastMessage.metadata?.status === "completed" && chat.status === "ready");
    return {asked: asked.map(part => part.input), ...told(chat, errors)};
  },

  async regenerates({url, question}) {
    const {chat, errors} = open({url});
    await chat.sendMessage({text: question});
    const first = shown(chat);
    await chat.regenerate();
    return {first, ...told(chat, errors)};
  },

  async edits({url, questions, edited}) {
    const {chat, errors} = open({url});
    for (const question of questions) await chat.sendMessage({text: question});
    await chat.sendMessage({text: edited, messageId: chat.messages[0].id});
    return told(chat, errors);
  },

  async regenerates_an_older_answer({url, questions}) {
    const {chat, errors} = open({url});
    for (const question of questions) await chat.sendMessage({text: question});
    await chat.regenerate({messageId: chat.messages[1].id});
    return told(chat, errors);
  },

  async stops({url, question, compat}) {
    const {chat, errors} = open({url, compat});
    const other = open({url, compat});
    const sending = chat.sendMessage({text: question});
    await until(() => chat.lastMessage?.role === "assistant" && text(chat.lastMessage));
    const watching = other.chat.resumeStream();
    await until(() => other.chat.lastMessage && text(other.chat.lastMessage));
    await chat.stop();
    const stopped = await fetch(`${url}/api/chat/${encodeURIComponent(chat.id)}/stop`, {method: "POST"});
    await Promise.all([sending, watching]);
    return {answered: stopped.status, one: told(chat, errors), other: told(other.chat, other.errors)};
  },

  async two_tabs({url, question}) {
    const [one, two] = [open({url}), open({url})];
    const sending = one.chat.sendMessage({text: question});
    await until(() => one.chat.lastMessage?.role === "assistant" && text(one.chat.lastMessage));
    await Promise.all([sending, two.chat.resumeStream()]);
    return [told(one.chat, one.errors), told(two.chat, two.errors)];
  },

  async comes_back({url, id, messages}) {
    const {chat, errors} = open({url, id, messages});
    await chat.resumeStream();
    return told(chat, errors);
  },

  async is_cut({url, chats, question, compat}) {
    const answers = [];
    for (let number = 0; number < chats; number++) {
      const {chat, errors} = open({url, id: `chat ${number}`, compat});
      await chat.sendMessage({text: question});
      for (let tries = 0; !whole(chat) && tries < 20; tries++) await chat.resumeStream();
      const bubbles = chat.messages.filter(message => message.role === "assistant");
      answers.push({sha256: sha256(text(chat.lastMessage)), bubbles: bubbles.length, errors: errors.length});
    }
    return answers;
  },

  // A page: mounted while the answer is being made, and mounted again as after a reload.
  async page({url, question}) {
    const {JSDOM} = await import("jsdom");
    const {window} = new JSDOM("<main></main>");
    Object.assign(globalThis, {window, document: window.document});
    Object.defineProperty(globalThis, "navigator", {value: window.navigator, configurable: true});
    const {createElement} = await import("react");
    const {createRoot} = await import("react-dom/client");
    const {useChat} = await import("@ai-sdk/react");
    const transport = new ai7.DefaultChatTransport({api: `${url}/api/chat`});
    const page = {};
    const Page = ({resume}) => {
      Object.assign(page, useChat({id: "a page", transport, resume}));
      return createElement("p", null, page.messages.map(text).join("|"));
    };
    const main = window.document.querySelector("main");
    const first = createRoot(main);
    first.render(createElement(Page, {resume: false}));
    await until(() => page.sendMessage);
    page.sendMessage({text: question});
    await until(() => page.messages.length === 2 && text(page.messages[1]));
    first.unmount();
    page.messages = [];
    const second = createRoot(main);
    second.render(createElement(Page, {resume: true}));
    await until(() => page.status === "ready" && page.messages.some(one => one.metadata?.status));
    await until(() => main.textContent === page.messages.map(text).join("|"));
    const result = {text: main.textContent, bubbles: page.messages.length};
    second.unmount();
    return result;
  },

  // Each line of the file is a version and the chunks of one stream, as JSON.
  async validates({file}) {
    const wrong = [];
    for (const line of readFileSync(file, "utf8").split("\n").filter(Boolean)) {
      const {version, chunks, said} = JSON.parse(line);
      const schema = versions[version][0].uiMessageChunkSchema;
      const {validate} = typeof schema === "function" ? schema() : schema;
      for (const chunk of chunks)
        if (!(await validate(chunk)).success) wrong.push({version, chunk});
      const message = await read(versions[version][0], chunks).catch(error => ({error: String(error)}));
      const last = message.parts?.findLastIndex(part => part.type === "data-reset") ?? 0;
      const shown = message.parts && text({parts: message.parts.slice(last + 1)});
      if (shown !== said) wrong.push({version, shown, said, error: message.error, chunks});
    }
    return wrong;
  },
});

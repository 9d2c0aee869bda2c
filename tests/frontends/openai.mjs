// OpenAI's client for JavaScript, unmodified. What a scenario returns is printed as JSON.
import { createHash } from "node:crypto";
import OpenAI from "openai";

const [, , scenario, json] = process.argv;
const given = JSON.parse(json);
const client = new OpenAI({ apiKey: "none", baseURL: `${given.url}/v1`, maxRetries: 0 });
const asked = { model: "sluice", messages: [{ role: "user", content: "Why?" }] };
const sha256 = (text) => createHash("sha256").update(text).digest("hex");
const told = (error) => ({ error: error.constructor.name, code: error.code, param: error.param });

async function chat(more = {}) {
  let text = "";
  let finish = null;
  let usage = null;
  try {
    for await (const chunk of await client.chat.completions.create({ ...asked, ...more, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? "";
      finish = chunk.choices[0]?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
  } catch (error) {
    return { text, finish, ...told(error) };
  }
  return { text, finish, usage };
}

async function helped() {
  try {
    return { text: await client.chat.completions.stream(asked).finalContent() };
  } catch (error) {
    return told(error);
  }
}

async function response() {
  const seen = { created: 0, numbers: [], resumed: 0 };
  let id = null;
  let texts = [];
  for (;;) {
    try {
      const stream = id === null
        ? await client.responses.create({ model: "sluice", input: "Why?", stream: true, background: true })
        : await client.responses.retrieve(id, { stream: true, starting_after: seen.numbers.at(-1) });
      seen.created += id === null;
      seen.resumed += id !== null;
      for await (const event of stream) {
        seen.numbers.push(event.sequence_number);
        if (event.type === "response.created") id = event.response.id;
        if (event.type === "response.output_text.delta") {
          texts[event.output_index] = (texts[event.output_index] ?? "") + event.delta;
        }
        if (event.type === "response.completed") {
          const rising = seen.numbers.every((n, i) => i === 0 || n > seen.numbers[i - 1]);
          const whole = event.response.output_text ?? event.response.output[0].content[0].text;
          return { sha256: sha256(texts.at(-1)), whole: sha256(whole), rising, resumed: seen.resumed };
        }
      }
    } catch (error) {
      if (error instanceof OpenAI.APIError && error.status !== undefined) throw error;
    }
  }
}

async function repeated(work) {
  const results = [];
  for (let n = 0; n < given.times; n++) results.push(await work());
  return results;
}

const scenarios = {
  async chats() {
    const models = [];
    for await (const model of client.models.list()) models.push(model.id);
    const whole = await client.chat.completions.create(asked);
    return {
      models,
      streamed: await chat({ stream_options: { include_usage: true } }),
      whole: whole.choices[0].message.content,
      helped: await helped(),
      refused: await chat({ n: 2 }),
      unknown: await chat({ model: "gpt-4o" }),
    };
  },
  async beside() {
    let thought = "", said = "";
    const chunks = await client.chat.completions.create({ ...asked, stream: true });
    for await (const chunk of chunks) {
      thought += chunk.choices[0]?.delta.reasoning_content ?? "";
      said += chunk.choices[0]?.delta.content ?? "";
    }
    const { output, output_text } = await client.responses
      .stream({ model: "sluice", input: "Why?" }).finalResponse();
    return { thought, said, helped: await helped(), output, output_text };
  },
  fails: () => chat(),
  async responses() {
    const final = await client.responses.stream({ model: "sluice", input: "Why?" }).finalResponse();
    const again = await client.responses.retrieve(final.id);
    const begun = await client.responses.create({ model: "sluice", input: "Why?", background: true });
    const cancelled = await client.responses.cancel(begun.id);
    return {
      final: final.output_text, items: final.output.length, again: again.output_text,
      status: final.status, cancelled: cancelled.status,
    };
  },
  cut_chats: () => repeated(chat),
  cut_helped: () => repeated(helped),
  cut_responses: () => repeated(response),
};

console.log(JSON.stringify(await scenarios[scenario]()));

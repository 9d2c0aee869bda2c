// OpenAI's client for JavaScript at Sluice: `npm install openai`, then `node chat.mjs`.
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.env.OPENAI_BASE_URL ?? "http://127.0.0.1:8000/v1",
  apiKey: process.env.OPENAI_API_KEY ?? "none",
});
const messages = [{ role: "user", content: "How do I resume a stream?" }];

// Chat completions: the helper fails, and does not give a short answer, if the stream was cut.
const stream = client.chat.completions.stream({ model: "sluice", messages });
stream.on("content", (piece) => process.stdout.write(piece));
await stream.finalContent();
process.stdout.write("\n");

// Responses: whoever is cut goes on where it was.
const { id } = await client.responses.create({ model: "sluice", input: "Why?", background: true });
let seen;
for (let over = false; !over; ) {
  try {
    const events = await client.responses.retrieve(id, { stream: true, starting_after: seen });
    for await (const event of events) {
      seen = event.sequence_number;
      if (event.type === "response.output_text.delta") process.stdout.write(event.delta);
      over ||= /^response\.(completed|failed|incomplete)$/.test(event.type);
    }
  } catch (error) {
    if (error.status !== undefined) throw error;
  }
}
process.stdout.write("\n");

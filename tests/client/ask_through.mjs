// Asks so many questions at once through one address, and prints how each answer came out:
//     node ask_through.mjs URL NUMBER
// Delays are a hundredth of what they are, as a proxy cuts the answers all the time.

import { connect, verify } from "../../interfaces/web/client.js";

const [base, number] = process.argv.slice(2);
const LONG_MS = 20_000;
const env = {
  fetch,
  setTimeout: (call, ms) => setTimeout(call, ms < LONG_MS ? ms / 100 : ms),
  clearTimeout,
};
const client = connect({ base, env });

async function answer(at) {
  let text = "";
  let end = null;
  const ids = [];
  for await (const { name, id, data } of client.ask({ message: `Question ${at}` })) {
    ids.push(id);
    if (name === "token") text += data.content;
    if (name === "reset") text = "";
    end = { name, data };
  }
  return { text, ids, end: end.name, verdict: await verify(text, end.data) };
}

const answers = await Promise.all(Array.from({ length: Number(number) }, (_, at) => answer(at)));
console.log(JSON.stringify(answers));

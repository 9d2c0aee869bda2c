// Runs one scenario of a script, and prints what it returns as JSON.
import {createHash} from "node:crypto";

export const sha256 = text => createHash("sha256").update(text, "utf8").digest("hex");

export async function until(holds, within = 30000) {
  for (const end = Date.now() + within; !holds();) {
    if (Date.now() > end) throw new Error(`not so within ${within} ms: ${holds}`);
    await new Promise(resolve => setTimeout(resolve, 5));
  }
}

export async function run(scenarios) {
  const [, , name, given] = process.argv;
  const result = await scenarios[name](JSON.parse(given));
  process.stdout.write(`\n${JSON.stringify(result)}\n`, () => process.exit(0));
}

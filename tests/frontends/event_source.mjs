// The browser's EventSource, as npm has it for Node.
import {EventSource} from "eventsource";
import {run, sha256} from "./scenarios.mjs";

async function followed(url) {
  const source = new EventSource(url);
  let text = "";
  source.addEventListener("token", ({data}) => { text += JSON.parse(data).content; });
  source.addEventListener("reset", () => { text = ""; });
  const told = await new Promise((over, fail) => {
    source.addEventListener("done", ({data}) => over(JSON.parse(data)));
    source.addEventListener("error", ({data, code}) => {
      if (data !== undefined || source.readyState === source.CLOSED) fail(new Error(`${code} ${data}`));
    });
  });
  source.close();
  return {sha256: sha256(text), told: told.sha256};
}

setInterval(() => {}, 1000); // while it waits to connect again it keeps no process alive

await run({
  is_cut: ({url, paths}) => Promise.all(paths.map(path => followed(url + path))),
});

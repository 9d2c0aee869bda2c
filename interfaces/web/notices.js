// What the page says beside its answers: a status for those who cannot see it, an alarm for everybody.

import { Problem } from "./client.js";
import { find, tell } from "./view.js";

let alarm = null;

export const announce = (text) => { find("status").textContent = text; };

export function complain(problem) {
  alarm = problem;
  tell(find("problem"), problem?.message ?? "", problem?.requestId);
}

/** The service answers: that it could not be reached is over. */
export function reached() {
  if (alarm?.status === 0) complain(null);
}

/** Shows what went wrong with a call, and leaves everything else as it was. */
export const guarded = (action) => attempt(action, complain);

/** For what nobody asked for: it works now, or it works another time. */
export const quietly = (action) => attempt(action, () => {});

async function attempt(action, refused) {
  try {
    await action();
    reached();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    refused(problem);
  }
}

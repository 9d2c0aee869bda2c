// The thread stays at its end for who reads there, and lets go of who has scrolled up.

import { find } from "./view.js";

const NEAR_THE_END = 80;
const thread = find("thread");
let stuck = true;

export function toEnd() {
  stuck = true;
  thread.scrollTop = thread.scrollHeight;
}

thread.addEventListener("scroll", () => {
  stuck = thread.scrollHeight - thread.scrollTop - thread.clientHeight < NEAR_THE_END;
}, { passive: true });
thread.addEventListener("drawn", () => { if (stuck) toEnd(); });

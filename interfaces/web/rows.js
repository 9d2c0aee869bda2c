// A chat as rows, in the order they stand on the page. No DOM here: this module runs in Node as well.

/** The job that runs, else that of the last question, is `live`: it is shown from its log. */
export function rowsOf({ items, active_job_id: active }) {
  const job = active ?? items.findLast((item) => item.role === "user")?.job_id ?? null;
  const rows = items.map((item) => ({
    role: item.role, id: item.id, text: item.content, status: item.status, job: item.job_id,
    live: item.role === "assistant" && job !== null && item.job_id === job,
  }));
  if (job === null || rows.some((row) => row.live)) return rows;
  // A question that was tried again has older answers, and they came first.
  const question = rows.findLastIndex((row) => row.job === job);
  const next = rows.findIndex((row, at) => at > question && row.role === "user");
  const at = question < 0 || next < 0 ? rows.length : next;
  return rows.toSpliced(at, 0, { role: "assistant", text: "", status: null, job, live: true });
}

// A question tried again keeps its id and gets another job; one just asked has no id yet.
const same = (one, other) =>
  one.role === other.role && (one.job === other.job || (one.id !== undefined && one.id === other.id));

/**
 * What is shown, brought up to `rows`: what stands stays the same object and in its order, also
 * what the chat does not keep, like an answer that failed without a word.
 */
export function merge(shown, rows) {
  const all = [...shown];
  const unkept = (one) => one?.role === "assistant" && !rows.some((row) => same(one, row));
  let at = 0;
  for (const row of rows) {
    const found = all.findIndex((one) => same(one, row));
    if (found >= 0) {
      all[found].id = row.id ?? all[found].id;
      all[found].job = row.job;
      at = found + 1;
      continue;
    }
    while (unkept(all[at])) at++;
    all.splice(at++, 0, row);
  }
  return all;
}

export const questionOf = (rows, answer) =>
  rows.slice(0, rows.indexOf(answer)).findLast((row) => row.role === "user");

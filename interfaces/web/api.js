// The calls of the contract that this page makes.

import { connect } from "./client.js";

export const { call, follow, submit, giveInput, cancel } = connect();

const chat = (id) => `/api/v1/chat/${encodeURIComponent(id)}`;

export const eventsOf = (id) => `${chat(id)}/events`;

export const listChats = (cursor) =>
  call("GET", `/api/v1/chat?limit=30${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);

export const readChat = (id) => call("GET", chat(id));

export const rename = (id, title) => call("PATCH", chat(id), { body: { title } });

export const remove = (id) => call("DELETE", chat(id));

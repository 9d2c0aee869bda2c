// Mounts the component of an example as a page, asks through its form, prints what it then shows.
import {build} from "esbuild";
import {JSDOM} from "jsdom";

const [, , component, apiUrl, question] = process.argv;
const {window} = new JSDOM("<main></main>", {url: "http://localhost/"});
Object.assign(globalThis, {window, document: window.document, FormData: window.FormData});
Object.defineProperty(globalThis, "navigator", {value: window.navigator, configurable: true});

const outfile = component.replace(/jsx$/, "mjs");
await build({entryPoints: [component], outfile, bundle: true, format: "esm", packages: "external", jsx: "automatic"});
const {Chat} = await import(outfile);
const {createElement} = await import("react");
const {createRoot} = await import("react-dom/client");

const main = document.querySelector("main");
const until = async holds => { while (!holds()) await new Promise(done => setTimeout(done, 10)); };
const button = () => main.querySelector("button")?.textContent;

createRoot(main).render(createElement(Chat, {apiUrl, threadId: crypto.randomUUID()}));
await until(() => button() === "Ask");
main.querySelector("input").value = question;
main.querySelector("button").click();
await until(() => main.querySelectorAll("p").length > 1 && button() === "Ask");
for (const message of main.querySelectorAll("p")) console.log(message.textContent);
process.exit(0);

// What answers a question of a graph: fields from its schema, and the value made of them. No DOM here.

/** What yes and no are, or null where neither would do and the schema's form is needed. */
export function choices({ kind, prompt, schema }) {
  if (schema?.type === "boolean") return { yes: true, no: false };
  if (kind !== "approval") return null;
  const decided = (valueOf) => ({ yes: valueOf("approve"), no: valueOf("reject") });
  if (Array.isArray(prompt?.action_requests)) {
    return decided((type) => ({ decisions: prompt.action_requests.map(() => ({ type })) }));
  }
  if (prompt?.type === "tool_approval" || schema?.properties?.type?.enum?.includes("approve")) {
    return decided((type) => ({ type }));
  }
  return schema === undefined ? { yes: true, no: false } : null;
}

/** One for each property, or one without a name for a value that is no object. */
export function fieldsOf({ kind, schema }) {
  if (schema === undefined) return [{ ...field(null, {}, false), type: kind === "form" ? "json" : "text" }];
  if (schema.type !== "object" || !schema.properties) return [field(null, schema, true)];
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties).map(([name, inner]) => field(name, inner, required.has(name)));
}

const field = (name, schema, required) => ({
  name,
  label: schema.title ?? name ?? "Your answer",
  hint: schema.description ?? "",
  type: schema.enum ? "choice" : (TYPES[schema.type] ?? "json"),
  options: schema.enum ?? [],
  initial: schema.default,
  required,
});

const TYPES = { string: "text", boolean: "flag", integer: "number", number: "number" };

/** `given` has each field's text, or a boolean, in the fields' order. Throws SyntaxError for what is no JSON. */
export function valueOf(fields, given) {
  const values = fields.map((one, at) => [one.name, valueIn(one, given[at])]);
  if (fields.length === 1 && fields[0].name === null) {
    const [[, value]] = values;
    return value === undefined ? "" : value;
  }
  return Object.fromEntries(values.filter(([, value]) => value !== undefined));
}

// Undefined for what was left empty and may be.
function valueIn({ type, options, required }, given) {
  if (type === "flag") return given;
  if (given === "" && !(type === "text" && required)) return undefined;
  if (type === "choice") return options[Number(given)];
  return type === "text" ? given : type === "number" ? Number(given) : JSON.parse(given);
}

// node parse_asyncapi.mjs FOLDER DOCUMENT: what @asyncapi/parser, installed in FOLDER, says of a document, as JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [folder, document] = process.argv.slice(2);
const { Parser } = createRequire(resolve(folder, "package.json"))("@asyncapi/parser");
const parsed = await new Parser().parse(readFileSync(document, "utf8"));
const diagnostics = parsed.diagnostics.map(({ code, message, path, severity }) => ({ code, message, path, severity }));
const operations = (parsed.document?.operations().all() ?? []).map((one) => [one.id(), one.action()]);
console.log(JSON.stringify({ valid: parsed.document !== undefined, diagnostics, operations }));

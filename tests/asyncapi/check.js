// Reads deploy/asyncapi.json with the official parser: prints what it finds, and fails on any error.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const path = new URL("../../deploy/asyncapi.json", import.meta.url);
const { document, diagnostics } = await new Parser().parse(readFileSync(path, "utf8"));

const severities = ["error", "warning", "information", "hint"];
for (const { severity, code, message, path } of diagnostics) {
  console.log(`${severities[severity]} ${code} at ${path.join("/")}: ${message}`);
}
const errors = diagnostics.filter(({ severity }) => severity === 0).length;
if (document === undefined || errors > 0) {
  console.log(`asyncapi: ${errors} errors`);
  process.exit(1);
}
const counts = [document.channels(), document.operations(), document.messages(), document.schemas()];
const [channels, operations, messages, schemas] = counts.map((list) => list.all().length);
const others = diagnostics.length - errors;
console.log(
  `asyncapi ${document.version()}: ${channels} channels, ${operations} operations, ${messages} messages, ` +
    `${schemas} schemas, 0 errors, ${others} other remarks`,
);

// What GitHub's own editor service finds in workflows and action.yml files: FILE... → one line each.
import { readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { validate } from "@actions/languageservice";
import { TextDocument } from "vscode-languageserver-textdocument";

let found = 0;
for (const file of process.argv.slice(2)) {
  const uri = pathToFileURL(path.resolve(file)).href;
  const document = TextDocument.create(uri, "yaml", 0, readFileSync(file, "utf8"));
  for (const { range, message } of await validate(document, {})) {
    found += 1;
    console.log(`${file}:${range.start.line + 1}: ${message}`);
  }
}
process.exit(found ? 1 : 0);

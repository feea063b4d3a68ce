// The portal's own build, with the panel as if it were installed: the package by its name, React once.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const dashboard = fileURLToPath(new URL("../../../dashboard/", import.meta.url));
const { default: react } = await import(createRequire(`${dashboard}package.json`).resolve("@vitejs/plugin-react"));

export default {
  root: fileURLToPath(new URL(".", import.meta.url)),
  base: "/",
  plugins: [react()],
  resolve: {
    alias: {
      "stumbleable-scheduler-dashboard": `${dashboard}src/index.ts`,
      "react-dom": `${dashboard}node_modules/react-dom`,
      react: `${dashboard}node_modules/react`,
    },
  },
};

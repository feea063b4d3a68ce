import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// `npm run dev` serves the page with its changes as they are made, on the API of a running `make up`.
const shim = process.env.SHIM_URL ?? "http://127.0.0.1:7005";

export default defineConfig({
  base: "/admin/",
  plugins: [react()],
  server: { host: "127.0.0.1", proxy: { "/api": shim, "/health": shim } },
  preview: { host: "127.0.0.1", proxy: { "/api": shim, "/health": shim } },
  build: {
    target: ["chrome123", "firefox128", "safari17.5"],
    // Everything is a file of its own: the page's policy allows no data: scripts or styles.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      // Says where a build's time went; what is looked at here are its warnings.
      checks: { pluginTimings: false },
      output: {
        // Libraries change less often than our code, so a browser keeps them over a deploy.
        codeSplitting: { groups: [{ name: "react", test: /node_modules\/(react|react-dom|scheduler)\// }] },
      },
    },
  },
  test: {
    environment: "jsdom",
    setupFiles: ["src/testing/setup.ts"],
    include: ["src/**/*.test.{ts,tsx}"],
    // Two processes share the machine with a whole stack.
    maxWorkers: 2,
    env: { DEBUG_PRINT_LIMIT: "0" },
    testTimeout: 60_000,
    unstubGlobals: true,
    restoreMocks: true,
  },
});

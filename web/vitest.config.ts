import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// The pure parts. What needs a browser and a room is in vitest.browser.config.ts.
export default defineConfig({
  resolve: { alias: { "@weir/layout": fileURLToPath(new URL("./src/layout/template.ts", import.meta.url)) } },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});

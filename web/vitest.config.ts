import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// The pure parts. What needs a browser and a room is in vitest.browser.config.ts.
export default defineConfig({
  resolve: { alias: { "@weir/layout": fileURLToPath(new URL("./src/layout/template.ts", import.meta.url)) } },
  // Layouts stand outside of web/.
  server: { fs: { allow: [fileURLToPath(new URL("..", import.meta.url))] } },
  // They take a second or two, but a busy machine may give them little of its time.
  test: { include: ["src/**/*.test.ts"], environment: "node", testTimeout: 60_000 },
});

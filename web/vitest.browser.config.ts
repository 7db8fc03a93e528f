import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// The built pages in a real Chromium, with a real livekit-server. One after the other: they measure.
export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  test: {
    include: ["tests/**/*.test.ts"],
    environment: "node",
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});

import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// The built pages in a real Chromium, with a real livekit-server. One after the other: they measure.
// `--mode previews` takes the previews in templates/ instead.
export default defineConfig(({ mode }) => ({
  root: fileURLToPath(new URL(".", import.meta.url)),
  test: {
    include: [mode === "previews" ? "tests/previews.ts" : "tests/**/*.test.ts"],
    environment: "node",
    fileParallelism: false,
    // Longer than any wait in a test, which says what it waited for.
    testTimeout: 240_000,
    hookTimeout: 120_000,
  },
}));

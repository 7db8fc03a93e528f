// Builds one page, named by `--mode`. Each is a site of its own, with its assets beside it by relative addresses, so that it can
// be served under any path.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

/** The directory of each page: `dist` is embedded in the binary, `dist-test` is for the tests. */
const PAGES: Record<string, string> = {
  layout: "dist",
  console: "dist",
  publisher: "dist-test",
  "egress-sdk": "dist-test",
};

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig(({ mode }) => {
  const place = PAGES[mode];
  if (place === undefined) {
    throw new Error(`--mode is one of ${Object.keys(PAGES).join(", ")}`);
  }
  return {
    root: here(`./src/${mode}`),
    base: "./",
    publicDir: false,
    resolve: { alias: { "@weir/layout": here("./src/layout/template.ts") } },
    build: {
      outDir: here(`./${place}/${mode}`),
      emptyOutDir: true,
      // The console takes nothing from `data:` addresses.
      assetsInlineLimit: 0,
      // What Debian's and Chrome's current releases are far beyond.
      target: "chrome120",
      modulePreload: false,
      reportCompressedSize: false,
      // A page is one script, from this very machine.
      chunkSizeWarningLimit: 1500,
    },
    server: { fs: { allow: [here("..")] } },
  };
});

import { defineConfig } from "vite";

/** The gateway that answers the calls of the development server. */
const GATEWAY = "http://localhost:8000";

export default defineConfig({
  // Relative addresses, so that the page also works behind a proxy that adds a path.
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { proxy: { "^/featherwire\\.": GATEWAY } },
  build: {
    target: "es2022",
    // The polyfill would be a script of its own for browsers that cannot run the page anyway.
    modulePreload: false,
    // Images in the styles would become `data:` addresses otherwise.
    assetsInlineLimit: 0,
    // The licences of the packages in the page, beside it.
    license: { fileName: "licenses.md" },
    rolldownOptions: {
      // Without hashes, so that a change of the page does not rename its files.
      output: {
        entryFileNames: "app.js",
        chunkFileNames: "[name].js",
        assetFileNames: "app[extname]",
      },
    },
  },
});

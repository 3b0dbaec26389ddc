// A web site on its own port with one page that runs a script, and a headless Chromium that opens the page.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";

export async function open(scriptFile) {
  const script = await readFile(scriptFile);
  const server = createServer((request, response) => {
    const isScript = request.url === "/page.js";
    response.setHeader("Content-Type", isScript ? "text/javascript" : "text/html; charset=utf-8");
    response.end(isScript ? script : '<!doctype html><title>page</title><body><script type="module" src="page.js"></script>');
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    // `.example` names resolve to this machine, like the name of a hostile page after DNS rebinding.
    args: ["--no-sandbox", "--host-resolver-rules=MAP *.example 127.0.0.1"],
  });
  return {
    browser,
    /** A page of the site, called by this name. */
    async visit(origin, prepare = async () => {}) {
      const page = await browser.newPage();
      await prepare(page);
      await page.goto(`${origin}:${port}/`);
      return page;
    },
    async close() {
      await browser.close();
      server.close();
    },
  };
}

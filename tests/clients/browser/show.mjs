// Loads a script into a page in a headless Chromium, and succeeds when the page shows the expected text.

import { open } from "./site.mjs";

const site = await open(process.argv[2]);
try {
  const page = await site.visit("http://localhost");
  const problems = [];
  page.on("pageerror", (error) => problems.push(error));
  const shown = page.waitForFunction((text) => document.body.innerText.includes(text), process.env.EXPECTED);
  await shown.catch((error) => {
    throw problems[0] ?? error;
  });
  console.log(await page.innerText("body"));
} finally {
  await site.close();
}

// The pictures of README.md: a chat in mid-stream with the units beside it, light and dark, and the
// terminal's view of the units.

import { stat } from "node:fs/promises";
import { endLoad } from "../browser/server.mjs";
import { openBrowser } from "../browser/stage.mjs";
import {
  fill,
  gateway,
  GIANT,
  LARGE,
  MIDDLE,
  open,
  OTHER,
  photograph,
  run,
  SLOW,
  SMALL,
  traffic,
} from "./scene.mjs";

const [folder] = process.argv.slice(2);
const PICTURE_BYTES_MAX = 200_000;
const TERMINAL_BYTES_MAX = 100_000;

function sized(name, bytes, bytesMax) {
  console.log(`${name}: ${bytes} bytes`);
  if (bytes > bytesMax) throw new Error(`${name} has more than ${bytesMax} bytes`);
}

/** Photographs an answer in its middle, while others run and wait. */
async function playground(browser, colorScheme) {
  const { url, stop } = await gateway([...SLOW, "--emulator-units", "16"]);
  const stage = await open(browser, url, { colorScheme });
  const { page } = stage;
  /** Waits until a request has run for this time. */
  const runs = (seconds) => page.locator(".running li", { hasText: `${seconds} s` }).first().waitFor();
  await stage.ready();
  await stage.choose(LARGE);
  await page.getByLabel("System prompt").fill("Answer in Markdown, with an example in Python.");
  fill(url, [[GIANT, 1]]);
  await runs(9);
  fill(url, [[MIDDLE, 2], [SMALL, 1]]);
  await runs(13);
  await stage.ask("Compare tea and coffee in a table");
  await page.locator(".answer[data-state=streaming]").waitFor();
  // After the chat, so that it does not wait for them.
  fill(url, [[OTHER, 1], [SMALL, 2]]);
  await page.locator(".running p", { hasText: "2 more" }).waitFor();
  fill(url, [[SMALL, 2]], { priority: "batch" });
  fill(url, [[MIDDLE, 1]]);
  await page.locator(".meter-wait", { hasText: "3 waiting" }).waitFor();
  await page.locator(".answer .markdown", { hasText: '"""The longest' }).waitFor();
  const name = `playground-${colorScheme}.webp`;
  const bytes = await photograph(page, `${folder}/${name}`);
  if ((await stage.answer.getAttribute("data-state")) !== "streaming") {
    throw new Error("the answer ended before the picture");
  }
  await endLoad();
  await stage.close();
  await stop();
  sized(name, bytes, PICTURE_BYTES_MAX);
}

/** Records the terminal while calls begin, run and wait. */
async function terminal() {
  const keys = ["website", "search", "reports", "tests"].map((name) => `gw_test_${name}`);
  const { url, stop } = await gateway([...SLOW, "--emulator-units", "16"], {
    FEATHERWIRE_API_KEYS: keys.join(","),
    FEATHERWIRE_KEY_WEIGHTS: "3,2,1",
  });
  const end = traffic(url, keys);
  process.env.UNITS_KEY = keys[0];
  await run(process.env.PYTHON, "own/terminal.py", url, `${folder}/units.svg`);
  end();
  await endLoad();
  await stop();
  sized("units.svg", (await stat(`${folder}/units.svg`)).size, TERMINAL_BYTES_MAX);
}

const browser = await openBrowser();
for (const scheme of ["light", "dark"]) await playground(browser, scheme);
await browser.close();
await terminal();
process.exit(0);

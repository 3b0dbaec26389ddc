// axe-core on every view of the playground, light and dark, wide and narrow.

import { check } from "../node/checks.mjs";
import { findsNothing } from "./axe-check.mjs";
import { openBrowser, PHONE, Stage, WIDE } from "./stage.mjs";

const PAGE = process.env.FEATHERWIRE_PLAYGROUND_URL;

const browser = await openBrowser();

const MARKDOWN = `repeat after me: # A

**b** \`c\` [d](https://example.com)

| a |
|---|
| 1 |

\`\`\`js
let a = 1; // b
\`\`\`

- e`;

/** The states of the chat, each reached from the one before. */
async function chat(stage, page) {
  await stage.ready();
  await findsNothing(page);
  await stage.asks(MARKDOWN);
  await stage.button("Another answer").click();
  await stage.answer.getByText("2 / 2").waitFor();
  await stage.ends();
  await findsNothing(page);
  await stage.choose("emulator/cut-after-5");
  await stage.ask("Tell me a story");
  await stage.ends("cut");
  await findsNothing(page);
  await stage.button("Raw events").last().click();
  await page.locator(".events-list").waitFor();
  await findsNothing(page);
  await page.keyboard.press("Escape");
  await stage.button("Copy as code").click();
  await page.locator(".snippet-text").waitFor();
  await findsNothing(page);
  await page.keyboard.press("Escape");
  if ((await page.locator(".settings").count()) === 0) await stage.button("Settings").click();
  for (const title of ["Gateway", "Tools", "Answer as JSON", "Parameters"])
    await stage.unfold(title);
  await page.getByLabel("Format").selectOption("json_schema");
  await page.getByLabel("Temperature", { exact: true }).fill("3");
  await findsNothing(page);
  await stage.button("Reset").click();
  await stage.button("Close the settings").click();
  await stage.button("Compare").click();
  await page.getByRole("option").first().waitFor();
  await findsNothing(page);
  await stage.chooseIn("emulator/think");
  await stage.ask("Think well");
  await page.locator(".answer[data-state=done]", { hasText: "Thoughts" }).waitFor();
  await page.locator("summary", { hasText: "Thoughts" }).click();
  await findsNothing(page);
  await page.getByRole("button", { name: /^Key: / }).click();
  await page.getByRole("dialog").waitFor();
  await findsNothing(page);
}

for (const colorScheme of ["light", "dark"]) {
  for (const viewport of [WIDE, PHONE]) {
    const kind = `${colorScheme}, ${viewport.width} pixels`;
    await check(`axe finds nothing in the chat: ${kind}`, async () => {
      const stage = await Stage.open(browser, PAGE, { colorScheme, viewport });
      await chat(stage, stage.page);
      await stage.close();
    });
    for (const view of ["units", "keys"]) {
      await check(`axe finds nothing in the view of ${view}: ${kind}`, async () => {
        const stage = await Stage.open(browser, PAGE, { colorScheme, viewport, hash: `#/${view}` });
        await stage.page.waitForFunction(() => document.querySelector(".meter-text"));
        await findsNothing(stage.page);
        await stage.close();
      });
    }
  }
}

await browser.close();

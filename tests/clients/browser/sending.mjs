// What the page sends, and what it copies as code, is what a person has put in.

import assert from "node:assert/strict";
import { checksOn, openBrowser } from "./stage.mjs";
import { answersWith, nextCall } from "./streams.mjs";

const PAGE = process.env.FEATHERWIRE_PLAYGROUND_URL;
const LARGE = "Qwen/Qwen2.5-72B-Instruct";
const DOT = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  "base64",
);
const DIGITS = "12345678901234567890";

const browser = await openBrowser();
const on = checksOn(browser, PAGE);

const image = (name, buffer = DOT) => ({ name, mimeType: "image/png", buffer });

/** Lets no image be read until `window.release()`. */
const holdImages = (page) =>
  page.evaluate(() => {
    const read = window.createImageBitmap;
    const released = new Promise((resolve) => (window.release = resolve));
    window.createImageBitmap = async (...given) => (await released, read(...given));
  });

await on("a prompt waits for its images", {}, async (stage, page) => {
  await stage.ready();
  await answersWith(page, [{ content: "Dots." }]);
  await holdImages(page);
  const files = page.getByLabel("Images", { exact: true });
  await files.setInputFiles([image("one.png"), image("two.png")]);
  await files.setInputFiles(image("three.png"));
  await page.getByText("The image is being read.").waitFor();
  await stage.ask("What is there?");
  assert.equal(await page.locator(".prompt").count(), 0);
  const [call] = await Promise.all([nextCall(page), page.evaluate(() => window.release())]);
  const kinds = call.messages[0].content_parts.map(({ type }) => type);
  assert.deepEqual(kinds, ["text", "image_url", "image_url", "image_url"]);
  assert.equal(await page.locator("#prompt").inputValue(), "");
});

await on("a prompt without its image is not sent", {}, async (stage, page) => {
  await stage.ready();
  await holdImages(page);
  const broken = image("broken.png", Buffer.from("no image"));
  await page.getByLabel("Images", { exact: true }).setInputFiles(broken);
  await stage.ask("What is there?");
  await page.evaluate(() => window.release());
  await page.getByText("broken.png cannot be read as an image.").waitFor();
  assert.equal(await page.locator("#prompt").inputValue(), "What is there?");
  assert.equal(await page.locator(".prompt").count(), 0);
});

for (const [name, change] of [
  ["a new conversation", (stage) => stage.button("New conversation").click()],
  [
    "the end of a comparison",
    async (stage, page) => {
      const close = page.getByRole("button", { name: "Close Qwen2.5-72B-Instruct" });
      await close.click();
      await close.waitFor({ state: "detached" });
    },
  ],
]) {
  await on(`a prompt that waits for its image is not sent after ${name}`, {}, async (stage, page) => {
    await stage.ready();
    await stage.button("Compare").click();
    await stage.chooseIn(LARGE);
    await holdImages(page);
    await page.getByLabel("Images", { exact: true }).setInputFiles(image("one.png"));
    await page.getByText("The image is being read.").waitFor();
    await stage.ask("What is there?");
    await change(stage, page);
    await page.evaluate(() => window.release());
    await page.getByAltText("one.png").waitFor();
    assert.equal(await page.locator(".prompt").count(), 0);
    assert.equal(await page.locator("#prompt").inputValue(), "What is there?");
  });
}

await on("what is transparent in a large image becomes white", {}, async (stage, page) => {
  await stage.ready();
  const url = await page.evaluate(() => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [2_100, 10];
    return canvas.toDataURL("image/png");
  });
  const buffer = Buffer.from(url.split(",")[1], "base64");
  await page.getByLabel("Images", { exact: true }).setInputFiles(image("clear.png", buffer));
  const shown = page.getByAltText("clear.png");
  await shown.waitFor();
  const dot = await shown.evaluate(async (shown) => {
    await shown.decode();
    const context = document.createElement("canvas").getContext("2d");
    context.drawImage(shown, 0, 0);
    return [...context.getImageData(1, 1, 1, 1).data];
  });
  assert.deepEqual(dot, [255, 255, 255, 255]);
});

await on("further members keep their digits, and replace no setting", {}, async (stage, page) => {
  await stage.ready();
  const fold = await stage.unfold("Gateway");
  const members = fold.getByLabel(/Further members/);
  await members.fill('{"n": 2}');
  await fold.getByText("n has its place elsewhere on this page").waitFor();
  await stage.ask("Hello");
  await stage.ends("failed");
  await members.fill(`{"custom_id": ${DIGITS}, "nested": {"a": [1, "b}", {"c,": null}], "d": 1.10}}`);
  const [call] = await Promise.all([nextCall(page), stage.ask("Hello")]);
  assert.deepEqual(call.extra, {
    custom_id: DIGITS,
    nested: '{"a": [1, "b}", {"c,": null}], "d": 1.10}',
  });
  await stage.ends();
  await stage.button("Copy as code").click();
  for (const name of ["curl", "grpcurl", "Python", "TypeScript"]) {
    await page.getByRole("tab", { name, exact: true }).click();
    await page.locator(".snippet-text", { hasText: DIGITS }).waitFor();
  }
  assert.match(await stage.text(".snippet-text"), new RegExp(`JavaScript rounds ${DIGITS}`));
  await page.getByRole("tab", { name: "Python", exact: true }).click();
  assert.match(await stage.text(".snippet-text"), /"c,": None/);
});

await on("the code has the image that waits, the priority and each model", {}, async (stage, page) => {
  await stage.ready();
  await stage.button("Compare").click();
  await stage.chooseIn(LARGE);
  const fold = await stage.unfold("Gateway");
  await fold.getByLabel("Priority in the queue").selectOption("batch");
  await page.getByLabel("Images", { exact: true }).setInputFiles(image("dot.png"));
  await page.getByAltText("dot.png").waitFor();
  await page.locator("#prompt").fill("What is there?");
  await stage.button("Copy as code").click();
  const dialog = page.getByRole("dialog");
  for (const name of ["curl", "grpcurl", "Python", "TypeScript"]) {
    await page.getByRole("tab", { name, exact: true }).click();
    await dialog.getByLabel("Model").selectOption({ index: 0 });
    await page.getByRole("tab", { name, exact: true, selected: true }).waitFor();
    const first = await stage.text(".snippet-text");
    assert.match(first, /What is there\?[^]*data:image\/png/);
    assert.match(first, /"priority": "(batch|PRIORITY_BATCH)"/);
    assert.ok(!first.includes(LARGE));
    await dialog.getByLabel("Model").selectOption({ index: 1 });
    await page.locator(".snippet-text", { hasText: LARGE }).waitFor();
  }
});

await on("a key that no header can have is told at once", {}, async (stage, page) => {
  await stage.ready();
  await page.getByRole("button", { name: /^Key/ }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Key", { exact: true }).fill("gw_live_\u043a\u043b\u044e\u0447");
  await dialog.getByText("This is no key: it has the character \u043a in it.").waitFor();
  assert.equal(await stage.button("Use this key").isDisabled(), true);
  await dialog.getByLabel("Key", { exact: true }).fill("gw_live one");
  await dialog.getByText("This is no key: it has a space or a line break in it.").waitFor();
  await stage.button("Cancel").click();
  // A page before this one may have kept such a key.
  await page.evaluate(() => sessionStorage.setItem("featherwire.key", "gw_\u043a"));
  await page.reload();
  await stage.ready();
  assert.equal(await stage.asks("repeat after me: without it"), "without it");
});

await browser.close();

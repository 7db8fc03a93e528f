// An operator at the console of a real service, in a real Chromium: `node console.mjs '{"console": …}'`. What was seen is
// printed as JSON; what is not seen in time ends it with an error. tests/it/console.rs starts both and judges.
import { chromium } from "playwright-core";

const asked = JSON.parse(process.argv[2]);
const PATIENCE = 60_000;
const complaints = [];

const browser = await chromium.launch({
  executablePath: asked.browser,
  timeout: 2 * PATIENCE,
  args: ["--host-resolver-rules=MAP weir.example 127.0.0.1"],
});

async function open(options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    // A stranger is refused first, and a recording may end while its picture is asked for; Chromium tells both.
    const isTold = message.text().includes("401") || message.location().url.endsWith("picture.jpg");
    if (message.type() === "error" && !isTold) complaints.push(message.text());
  });
  return page;
}

async function shot(page, name) {
  if (asked.shots) await page.screenshot({ path: `${asked.shots}/${name}.png` });
}

/** How far the page can be pushed sideways, in pixels. */
const overhang = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** Asks until it is so, or the time is over; gives the last answer. */
async function until(ask, isSo) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const answer = await ask();
    if (isSo(answer) || Date.now() > deadline) return answer;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The colour in the middle of a card's picture, once that is of the painted page. */
const painted = (card) =>
  until(
    () => colour(card),
    ({ rgb }) => rgb.every((value, channel) => Math.abs(value - asked.colour[channel]) <= 12),
  );

/** The colour in the middle of a card's picture. */
const colour = (card) =>
  card.locator("img").evaluate((image) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const paint = canvas.getContext("2d");
    paint.drawImage(image, 0, 0);
    const [r, g, b] = paint.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data;
    return { width: canvas.width, height: canvas.height, rgb: [r, g, b] };
  });

const seen = {};
try {
  const page = await open({ viewport: { width: 1280, height: 900 } });
  // Nobody is let in without a key or a token, not even here; a key is good once, and does not stay in the address.
  await page.goto(asked.console);
  const door = page.getByLabel("LiveKit access token");
  await door.waitFor();
  seen.withoutKey = await page.locator("article").count();
  await page.goto(asked.withKey);
  await page.locator(`[data-egress="${asked.egress}"]`).waitFor();
  seen.address = page.url();
  seen.cookies = (await page.context().cookies()).length;
  const again = await open({});
  await again.goto(asked.withKey);
  await again.getByText("The key is not known, was used, or is too old").waitFor();
  seen.again = await again.locator("article").count();
  await again.close();
  // The session stays with the tab.
  await page.reload();

  // What runs, with its picture.
  const first = page.locator(`[data-egress="${asked.egress}"]`);
  await first.locator(".status", { hasText: "recording" }).waitFor();
  await first.locator("img").waitFor();
  seen.picture = await painted(first);
  seen.title = await first.locator("h3").textContent();
  const elapsed = () => first.locator(".elapsed").textContent();
  const before = await elapsed();
  await page.waitForFunction(
    ([id, text]) => document.querySelector(`[data-egress="${id}"] .elapsed`)?.textContent !== text,
    [asked.egress, before],
  );

  // A form that is not filled in says so, and one that is starts a recording.
  await page.getByRole("button", { name: "New recording" }).click();
  const form = page.getByRole("dialog", { name: "New recording" });
  await form.getByRole("button", { name: "Start recording" }).click();
  const isSo = (answer) => answer;
  const missing = form.getByText("Give the page's address");
  seen.missing = await until(() => missing.isVisible(), isSo);
  const focused = form.getByLabel("Address", { exact: true });
  seen.focus = await until(() => focused.evaluate((field) => field === document.activeElement), isSo);
  await form.getByLabel("Address", { exact: true }).fill(asked.page);
  await form.getByLabel("File").fill(asked.file);
  await form.getByLabel("Let streams be added").check();
  await shot(page, "form");
  await form.getByRole("button", { name: "Start recording" }).click();
  await form.waitFor({ state: "hidden" });
  const second = page.locator(`article:not([data-egress="${asked.egress}"])`);
  await second.locator(".status", { hasText: "recording" }).waitFor();
  await second.locator("img").waitFor();
  seen.started = await second.getAttribute("data-egress");

  // A stream: a wrong address is not sent, a right one is live, and taken off again.
  const address = second.getByLabel("Stream to another address");
  await address.fill("not-an-address");
  await second.getByRole("button", { name: "Add", exact: true }).click();
  const wrong = second.getByText("An address begins with");
  seen.wrongStream = await until(() => wrong.isVisible(), isSo);
  await address.fill(asked.stream);
  await second.getByRole("button", { name: "Add", exact: true }).click();
  const stream = second.locator(".outputs li", { hasText: "rtmp://" });
  await stream.getByText("live", { exact: true }).waitFor();
  seen.stream = await stream.locator(".name").textContent();
  await shot(page, "running");

  // On a phone.
  await page.setViewportSize({ width: 360, height: 740 });
  await shot(page, "phone");
  seen.overhang = await overhang(page);
  await page.getByRole("button", { name: "New recording" }).click();
  seen.formOverhang = await form.evaluate((dialog) => dialog.scrollWidth - dialog.clientWidth);
  await shot(page, "phone-form");
  await page.keyboard.press("Escape");
  await page.setViewportSize({ width: 1280, height: 900 });

  await stream.getByRole("button", { name: "Stop streaming to" }).click();
  await stream.getByText("ended", { exact: true }).waitFor();

  // Stopped only when it is meant.
  const stop = second.getByRole("button", { name: "Stop recording" });
  const question = page.getByRole("dialog", { name: "Stop this recording?" });
  await stop.click();
  await question.getByRole("button", { name: "Cancel" }).click();
  seen.afterCancel = await second.locator(".status").textContent();
  await stop.click();
  await question.getByRole("button", { name: "Stop recording" }).click();
  const ended = page.locator(`li[data-egress="${seen.started}"]`);
  await ended.locator(".status", { hasText: "complete" }).waitFor();
  seen.ended = await ended.locator(".outputs .name").first().textContent();
  await shot(page, "finished");

  // By a name that is not this machine's, everybody needs a token.
  const stranger = await open({ viewport: { width: 360, height: 740 } });
  await stranger.goto(asked.console.replace("127.0.0.1", "weir.example"));
  const field = stranger.getByLabel("LiveKit access token");
  await field.waitFor();
  seen.strangerSees = await stranger.locator("article").count();
  await shot(stranger, "door");
  await field.fill("rubbish");
  await stranger.getByRole("button", { name: "Open" }).click();
  await stranger.getByText("Invalid authorization token").waitFor();
  await field.fill(asked.token);
  await stranger.getByRole("button", { name: "Open" }).click();
  const shown = stranger.locator(`[data-egress="${asked.egress}"]`);
  await shown.locator("img").waitFor();
  seen.withToken = await painted(shown);
  seen.kept = await stranger.evaluate(() => [sessionStorage.length, localStorage.length, document.cookie]);
  await stranger.getByRole("button", { name: "Forget token" }).click();
  await field.waitFor();

  seen.complaints = [...complaints];

  // Another page can't lead here, nor ask for anything.
  const other = await open({});
  await other.goto(asked.page);
  seen.foreign = await other.evaluate(async (target) => {
    const options = { method: "POST", mode: "no-cors", body: "{}" };
    const answer = await fetch(`${target}console/api/recordings/EG_x/stop`, options).then(
      (answer) => answer.type,
      () => "refused",
    );
    const image = await new Promise((resolve) => {
      const image = new Image();
      image.onload = () => resolve("shown");
      image.onerror = () => resolve("not shown");
      image.src = `${target}console/api/recordings/EG_x/picture.jpg`;
    });
    return { answer, image };
  }, asked.console);
  await other.evaluate((target) => {
    location.href = target;
  }, asked.console);
  await other.getByText("Another page has led here").waitFor();
} finally {
  await browser.close();
}
process.stdout.write(JSON.stringify(seen));

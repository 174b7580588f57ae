// Looks at a running dashboard in Chromium as a person would: does it load cleanly, do its figures move, can it
// be used by keyboard, on a phone, in the dark, by a screen reader; does an alert appear. A Go test calls it.
//
// usage: node look.mjs URL FOLDER [ALERT]     screenshots go into FOLDER
//
// It writes "moving" once figures move: from then on the alert named ALERT may be raised. What it finds wrong
// goes to stderr, one line each, and the exit code is 1.

import {chromium} from "playwright-core";
import {existsSync} from "node:fs";
import {createRequire} from "node:module";
import path from "node:path";
import {readFile} from "node:fs/promises";

const [url, folder, alert] = process.argv.slice(2);
const patience = 30_000;
const wrong = [];
const check = (good, what) => { if (!good) wrong.push(what); };

const browser = await chromium.launch({
  executablePath: ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync),
  args: process.getuid() === 0 ? ["--no-sandbox"] : [],
});

/** Opens the page and notes everything that a console or a network log would show as wrong. */
async function open(name, options) {
  const context = await browser.newContext({viewport: {width: 1360, height: 900}, ...options});
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  page.on("console", (m) => check(!["error", "warning"].includes(m.type()), `${name}: console: ${m.text()}`));
  page.on("pageerror", (e) => check(false, `${name}: ${e}`));
  page.on("requestfailed", (r) => check(/\/stream$/.test(r.url()), `${name}: ${r.url()} failed`));
  page.on("response", (r) => check(r.ok(), `${name}: ${r.url()} is ${r.status()}`));
  page.on("request", (r) => check(new URL(r.url()).origin === new URL(url).origin ||
    r.url().startsWith("data:"), `${name}: a request to ${r.url()}`));
  const answer = await page.goto(url);
  const policy = answer.headers()["content-security-policy"] ?? "";
  check(policy.includes("default-src 'none'") && !policy.includes("unsafe"), `${name}: policy ${policy}`);
  await page.waitForFunction(() => document.querySelectorAll("#stations .total").length === 7);
  return page;
}

const received = (page) => page.locator("#stations li:has(h3:text-is('Decoder')) .total").innerText();

async function moves(page) {
  const before = await received(page);
  await page.waitForFunction((then) => [...document.querySelectorAll("#stations > li")].find((li) =>
    li.querySelector("h3").textContent === "Decoder").querySelector(".total").innerText !== then, before);
  await page.waitForFunction(() => /[1-9]/.test(document.querySelector("#now .big").textContent));
}

async function keyboard(page) {
  await page.keyboard.press("Tab");
  const first = await page.evaluate(() => document.activeElement.className);
  check(first === "skip", `the first stop of Tab is ${first}, want the skip link`);
  await page.keyboard.press("Enter");
  const target = await page.evaluate(() => document.activeElement.id);
  check(target === "content", `the skip link leads to ${target}`);
  const details = page.locator("#latency-details");
  const opened = await details.evaluate((d) => d.open);
  await page.locator("#latency-details summary").focus();
  await page.keyboard.press("Enter");
  check(await details.evaluate((d) => d.open) !== opened, "a table's summary does not obey the keyboard");
  await page.keyboard.press("Enter");
}

/** axe-core knows the rules for landmarks, names, contrast, tables and lists. */
async function accessible(page, name) {
  const source = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
  await page.evaluate(await readFile(source, "utf8"));
  const found = await page.evaluate(() => globalThis.axe.run(document,
    {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}));
  for (const v of found.violations) {
    check(false, `${name}: ${v.id}: ${v.help}: ${v.nodes.map((n) => n.target.join(" ")).join(", ")}`);
  }
  check(found.passes.length > 15, `${name}: only ${found.passes.length} rules of axe-core were met`);
}

async function narrow(page, name) {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  check(content <= window, `${name}: the page is ${content} wide in a window of ${window}`);
}

const shoot = (page, name) => page.screenshot({path: path.join(folder, name + ".png"), fullPage: true});

async function look() {
  const page = await open("light", {colorScheme: "light"});
  await moves(page);
  await keyboard(page);
  const canvases = await page.locator("canvas").count();
  const tables = await page.locator("#rates-details[open], #latency-details[open]").count();
  check(canvases === 2 || tables === 2, `${canvases} plots are drawn and ${tables} tables are open instead`);
  process.stdout.write("moving\n");
  if (alert) {
    await page.locator("#alerts-table tbody th", {hasText: alert}).first().waitFor();
    await page.waitForFunction((name) => document.getElementById("news").textContent.includes(name), alert);
  }
  // Some seconds for the plots.
  await page.waitForTimeout(1000 * (process.env.LOOK_SECONDS ?? 4));
  await accessible(page, "light");
  await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
  await shoot(page, "light");
  await page.screenshot({path: path.join(folder, "first.png")});
  const dark = await open("dark", {colorScheme: "dark"});
  await moves(dark);
  await dark.waitForTimeout(1000);
  await accessible(dark, "dark");
  await shoot(dark, "dark");
  const phone = await open("phone",
    {viewport: {width: 360, height: 740}, isMobile: true, hasTouch: true, deviceScaleFactor: 2});
  await moves(phone);
  await phone.waitForTimeout(1000);
  await narrow(phone, "phone");
  await accessible(phone, "phone");
  await shoot(phone, "phone");
}

try {
  await look();
} catch (error) {
  wrong.push(String(error));
} finally {
  await browser.close();
}
for (const line of wrong) console.error(line);
process.exit(wrong.length > 0 ? 1 : 0);

// Opens a page in a real browser with a profile of its own, for as long as something is done with it.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/**
 * What `work` makes of a page, and the messages of the errors that no script of the page caught meanwhile.
 * `playwright` is the file of playwright-core; CHROMIUM names another browser than Debian's.
 */
export async function open(playwright, work) {
  const { chromium } = await import(pathToFileURL(playwright).href);
  const profile = mkdtempSync(join(tmpdir(), "console-e2e-"));
  try {
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      headless: true,
      args: ["--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking", "--no-first-run"],
      viewport: { width: 1400, height: 850 },
    });
    try {
      const page = context.pages()[0] ?? await context.newPage();
      page.setDefaultTimeout(60_000);
      const problems = [];
      page.on("pageerror", (error) => problems.push(error.message));
      return { ...await work(page), problems };
    } finally {
      await context.close();
    }
  } finally {
    rmSync(profile, { recursive: true, force: true });
  }
}

// Bundles the page with its plots into dist/, which the Go build embeds. Called by `make web`.

import {build} from "esbuild";
import {copyFile, readFile, rm, writeFile} from "node:fs/promises";
import path from "node:path";

const here = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const at = (...names) => path.join(here, ...names);

const withPlots = {
  name: "with-plots",
  setup(about) {
    about.onResolve({filter: /^\.\/plots\.js$/}, () => ({path: at("plots", "plots.js")}));
  },
};

await build({
  entryPoints: [at("page", "main.js")], outfile: at("dist", "main.js"), plugins: [withPlots],
  bundle: true, minify: true, format: "esm", target: "es2022", legalComments: "inline",
});
const library = await readFile(at("node_modules", "uplot", "dist", "uPlot.min.css"), "utf8");
await writeFile(at("dist", "style.css"), library + "\n" + await readFile(at("page", "style.css"), "utf8"));
await copyFile(at("page", "icon.svg"), at("dist", "icon.svg"));
// Last: a build that fails halfway leaves the plain page in force.
await rm(at("dist", "index.html"), {force: true});
await copyFile(at("page", "index.html"), at("dist", "index.html"));

// The dashboard: one event a second brings the whole state, and each part of the page shows its own of it.

import {bytes, clock, count, listed, rate, span, sum, time} from "./format.js";
import {children, make, table, text} from "./dom.js";
import {draw, refusedByXDP, stations} from "./flow.js";
import {drawn, plot} from "./plots.js";

const at = (id) => document.getElementById(id);

// Five minutes at one event each 0.9 s.
const kept = 334;
const history = {times: [], received: [], written: [], p50: [], p99: [], worker: []};
const names = Object.keys(history);

let before = null; // the picture before this one
let lastEvent = 0; // when it came, by this browser's clock

const ratesPlot = plot(at("rates-plot"), {series: [
  {name: "received", colour: "--accent"}, {name: "written", colour: "--second", dash: [6, 4]}]});
const latencyPlot = plot(at("latency-plot"), {logarithmic: true, series: [
  {name: "to the database, P99", colour: "--accent"}, {name: "to the database, P50", colour: "--second"},
  {name: "XDP to worker, P99", colour: "--third", dash: [6, 4]}]});
at("rates-details").open = at("latency-details").open = !drawn;

function remember(picture, speeds) {
  const {p50_seconds: p50, p99_seconds: p99} = picture.health;
  const values = {
    times: Date.parse(picture.status.taken) / 1000, received: speeds?.received ?? null,
    written: speeds?.written ?? null, p50: p50.end_to_end ?? null, p99: p99.end_to_end ?? null,
    worker: p99.steer_to_worker ?? null,
  };
  for (const name of names) {
    history[name].push(values[name]);
    if (history[name].length > kept) history[name].shift();
  }
  ratesPlot.set([history.times, history.received, history.written]);
  latencyPlot.set([history.times, history.p99, history.p50, history.worker]);
}

// What happened a second between two pictures; null before there are two.
function speedsOf(now, then) {
  if (!then || then.status.uptime_seconds > now.status.uptime_seconds) return null;
  const seconds = (Date.parse(now.status.taken) - Date.parse(then.status.taken)) / 1000;
  if (!(seconds > 0)) return null;
  const speed = (name) => Math.max(0, now.status.ledger[name] - then.status.ledger[name]) / seconds;
  return {seconds, received: speed("received"), written: speed("written")};
}

function showHead({status: s, health: h}) {
  text(at("gateway"), s.gateway);
  text(at("state"), h.state);
  at("state").dataset.state = {ready: "ok", degraded: "warn"}[h.state] ?? "bad";
  text(at("about"), [s.version && `version ${s.version}`, `up ${span(s.uptime_seconds)}`].filter(Boolean).join(", "));
  document.title = `${h.state === "ready" ? "" : h.state + ": "}${s.gateway} – Culvert`;
  at("reasons").hidden = h.reasons.length === 0;
  children(at("reasons"), h.reasons, (reason) => reason, () => make("li"), text);
}

function showNow({status: s, health: h}, speeds) {
  const firing = s.rules.reduce((n, rule) => n + rule.firing, 0);
  const lost = sum(s.ledger.dropped) + sum(s.packets.drops) + s.packets.kernel_drops;
  const rejected = sum(s.ledger.rejected) + sum(s.packets.rejected) + refusedByXDP(s);
  const figures = [
    ["Received", speeds ? rate(speeds.received) : "–", "points"],
    ["Written", speeds ? rate(speeds.written) : "–", "points"],
    ["XDP to database", time(h.p99_seconds.end_to_end), "P99 of the last 10 s"],
    ["In flight", count(s.ledger.in_flight), "points"],
    ["Firing", count(firing), firing === 1 ? "alert" : "alerts", firing > 0 ? "warn" : ""],
    ["Lost", count(lost), "packets and points", lost > 0 ? "bad" : ""],
    ["Rejected", count(rejected), "packets and points", rejected > 0 ? "warn" : ""],
  ];
  children(at("now"), figures, ([name]) => name, () => {
    const div = make("div");
    div.append(make("dt"), make("dd", "big"), make("dd", "unit"));
    return div;
  }, (div, [name, value, unit, state]) => {
    text(div.children[0], name);
    text(div.children[1], value);
    text(div.children[2], unit);
    div.dataset.state = state ?? "";
  });
}

function showFlow({status: s}, speeds) {
  draw(at("stations"), stations(s), speeds && stations(before.status), speeds?.seconds);
  const l = s.ledger;
  const balanced = l.residue === 0;
  text(at("balance"), balanced ? "Balanced: every point is accounted for." :
    `Not balanced by ${count(l.residue)} points: this is a bug, please report it.`);
  at("balance").dataset.state = balanced ? "ok" : "bad";
}

function showRates() {
  const row = (name, values) => {
    const known = values.filter((v) => v !== null);
    return {name, now: known.at(-1), least: Math.min(...known), most: Math.max(...known),
      mean: known.reduce((a, b) => a + b, 0) / known.length};
  };
  table(at("rates-table"), [
    {name: "points", of: (r) => r.name}, {name: "now", of: (r) => rate(r.now), figure: true},
    {name: "least", of: (r) => rate(r.least), figure: true},
    {name: "mean", of: (r) => rate(r.mean), figure: true},
    {name: "most", of: (r) => rate(r.most), figure: true},
  ], [row("received", history.received), row("written", history.written)], (r) => r.name, "");
}

const stageNames = {
  nic_to_steer: "card to XDP", steer_to_worker: "XDP to worker", decode: "decode a packet",
  rules: "rules for a packet", batch_wait: "wait in the batch", write: "database's answer",
  end_to_end: "XDP to database", alert: "XDP to alert",
};

function showLatency({status: s, health: h}) {
  const order = Object.keys(stageNames);
  const stages = Object.keys(s.latency).filter((stage) => s.latency[stage].count > 0)
    .sort((a, b) => order.indexOf(a) - order.indexOf(b));
  const column = (name, of) => ({name, of, figure: true});
  table(at("latency-table"), [
    {name: "stage", of: (stage) => stageNames[stage] ?? stage},
    column("P50, 10 s", (stage) => time(h.p50_seconds[stage])),
    column("P99, 10 s", (stage) => time(h.p99_seconds[stage])),
    column("mean, all", (stage) => time(s.latency[stage].mean)),
    column("P99, all", (stage) => time(s.latency[stage].p99)),
    column("P99.9, all", (stage) => time(s.latency[stage].p999)),
    column("most", (stage) => time(s.latency[stage].max)),
    column("count", (stage) => count(s.latency[stage].count)),
  ], stages, (stage) => stage, "Nothing was measured yet.");
}

function showAlerts({alerts, status: s}) {
  const labels = (a) => Object.entries(a.labels).filter(([name]) => name !== "alertname")
    .sort().map(([name, value]) => `${name}=${value}`).join(", ");
  const now = Date.parse(s.taken) / 1000;
  table(at("alerts-table"), [
    {name: "alert", of: (a) => ({text: a.rule, state: "warn"})}, {name: "labels", of: labels, long: true},
    {name: "says", long: true, of: (a) => a.annotations?.summary ?? Object.values(a.annotations ?? {})[0] ?? ""},
    {name: "for", of: (a) => span(now - Date.parse(a.since) / 1000), figure: true},
  ], alerts, (a) => a.fingerprint, s.rules.length > 0 ? "None fires." : "None fires: there are no rules.");
  if (!before) return;
  // Said once, and only what is new: a screen reader must not be kept busy.
  const known = new Set(before.alerts.map((a) => a.fingerprint));
  const fresh = alerts.filter((a) => !known.has(a.fingerprint));
  const ended = before.alerts.length - (alerts.length - fresh.length);
  if (fresh.length > 0) {
    text(at("news"), `${fresh.length} more firing: ${fresh.slice(0, 3).map((a) => a.rule).join(", ")}`);
  } else if (ended > 0 && alerts.length < before.alerts.length) {
    text(at("news"), `${ended} no longer firing`);
  }
}

function showQueues({status: s}) {
  const rows = s.interfaces.flatMap((i) => i.queues.map((q) => ({...q, of: i})));
  const nodes = new Map();
  for (const w of s.workers) {
    const list = nodes.get(w.node) ?? [];
    list.push({worker: w, queues: rows.filter((q) => q.worker === w.name)});
    nodes.set(w.node, list);
  }
  children(at("nodes"), [...nodes].sort(([a], [b]) => (a < 0) - (b < 0) || a - b), ([node]) => node, () => {
    const li = make("li", "node");
    li.append(make("h3"), make("ul"));
    return li;
  }, (li, [node, workers]) => {
    text(li.firstChild, node < 0 ? "Not pinned" : `Node ${node}`);
    children(li.lastChild, workers, ({worker}) => worker.name, () => {
      const item = make("li", "worker");
      item.append(make("strong"), make("span"), make("span"));
      return item;
    }, (item, {worker: w, queues}) => {
      const [cpu, name, from] = item.children;
      const late = w.heartbeat_age_seconds > 1;
      text(cpu, w.cpu < 0 ? "any CPU" : `CPU ${w.cpu}`);
      const age = w.heartbeat_age_seconds;
      text(name, ` worker ${w.name}, seen ${age < 0.001 ? "just now" : time(age) + " ago"}`);
      text(from, queues.length > 0 ?
        queues.map((q) => `${q.of.name} queue ${q.queue}`).join(", ") :
        w.name === "kernel" ? "kernel sockets" : "no queue");
      item.dataset.state = late ? "bad" : "";
    });
  });
  // Where queues fan out a queue has several sockets, each with a worker of its own.
  const label = (q) => `${q.of.name} ${q.queue}` +
    (rows.some((o) => o.of === q.of && o.queue === q.queue && o.socket > 0) ? `, socket ${q.socket}` : "");
  table(at("queues-table"), [
    {name: "queue", of: label},
    {name: "CPU", of: (q) => q.cpu < 0 ? "–" : q.cpu},
    {name: "node", of: (q) => q.node < 0 ? "–" : q.node},
    {name: "worker", of: (q) => q.worker}, {name: "mode", of: (q) => q.of.mode || q.of.state},
    {name: "packets", of: (q) => count(q.received), figure: true},
    {name: "lost", of: (q) => sum(q.drops) > 0 ? {text: listed(q.drops), state: "bad"} : "none"},
  ], rows, (q) => `${q.of.name} ${q.queue} ${q.socket}`, "No queue is served: packets come by the kernel's sockets.");
}

// A count that is worth a look unless it is 0.
const some = (n, state) => n > 0 ? {text: count(n), state} : "0";

function sinkState(k) {
  const breaker = k.breaker === "closed" ? "" : `, breaker ${k.breaker.replace("_", " ")}`;
  return {text: (k.up ? "up" : "down") + breaker, state: !k.up ? "bad" : breaker ? "warn" : "ok"};
}

function inSpool({spool}) {
  if (!spool) return "none is kept";
  if (spool.disk_error) return {text: `not on disk: ${spool.disk_error}`, state: "bad"};
  const damaged = spool.kept_bytes > 0 ? `, ${bytes(spool.kept_bytes)} damaged and kept aside` : "";
  if (spool.pending === 0) return damaged ? {text: "empty" + damaged, state: "warn"} : "empty";
  return {text: `${count(spool.pending)} points, ${bytes(spool.bytes)}, the oldest for ` +
    span(spool.oldest_seconds) + damaged, state: "warn"};
}

// A single tenant without limits is everything, and says nothing.
function showTenants({status: s}) {
  const told = s.tenants.length > 1 || s.tenants.some((t) => t.packets_limited > 0 || t.series_limit > 0);
  at("tenants-section").hidden = at("tenants-link").hidden = !told;
  if (!told) return;
  table(at("tenants-table"), [
    {name: "tenant", of: (t) => t.name}, {name: "sink", of: (t) => t.sink},
    {name: "points", figure: true, of: ({ledger: l}) => count(l.received + l.derived + l.copied + l.restored)},
    {name: "written", of: (t) => count(t.ledger.written), figure: true},
    {name: "in the spool", of: (t) => some(t.ledger.spool_pending, "warn"), figure: true},
    {name: "rejected", of: (t) => some(sum(t.ledger.rejected), "warn"), figure: true},
    {name: "lost", of: (t) => sum(t.ledger.dropped) > 0 ?
      {text: listed(t.ledger.dropped), state: "bad"} : "none"},
    {name: "packets over limit", of: (t) => some(t.packets_limited, "bad"), figure: true},
    {name: "series", of: (t) => t.series_limit > 0 ? `${count(t.series ?? 0)} of ${count(t.series_limit)}` :
      "no limit", figure: true},
  ], s.tenants, (t) => t.name, "");
}

function showSinks({status: s}) {
  table(at("sinks-table"), [
    {name: "sink", of: (k) => k.name}, {name: "URL", of: (k) => k.url},
    {name: "state", of: sinkState},
    {name: "written", of: (k) => count(k.points.written), figure: true},
    {name: "in flight", of: (k) => count(k.points.in_flight), figure: true},
    {name: "refused", of: (k) => some(sum(k.points.rejected), "warn"), figure: true},
    {name: "lost", of: (k) => sum(k.points.dropped) > 0 ?
      {text: listed(k.points.dropped), state: "bad"} : "none"},
    {name: "in the spool", of: inSpool, long: true},
    {name: "connections", of: (k) => k.connections, figure: true},
    {name: "answers", of: (k) => listed(k.requests, ":")},
    {name: "zero-copy", of: (k) => k.zerocopy_sent + k.zerocopy_copied === 0 ? "–" :
      `${count(k.zerocopy_sent)} sent, ${count(k.zerocopy_copied)} copied`},
    {name: "last error", long: true, of: (k) => k.last_error ? {text: k.last_error, state: "bad"} : "none"},
  ], s.sinks, (k) => k.name + k.url, "There is no sink.");
}

function showRules({status: s, health: h}) {
  const cost = s.latency.rules;
  text(at("rules-cost"), cost?.count > 0 ? `All rules together take ${time(cost.mean)} for a packet on ` +
    `average, ${time(h.p99_seconds.rules ?? cost.p99)} at P99.` : "");
  table(at("rules-table"), [
    {name: "rule", of: (r) => r.name}, {name: "group", of: (r) => r.group}, {name: "kind", of: (r) => r.kind},
    {name: "condition", of: (r) => r.expr, long: true},
    {name: "firing", of: (r) => r.firing > 0 ? {text: count(r.firing), state: "warn"} : "0", figure: true},
    {name: "pending", of: (r) => count(r.pending), figure: true},
    {name: "changes", of: (r) => count(r.transitions), figure: true},
    {name: "steps", of: (r) => count(r.steps), figure: true},
    {name: "keys", of: (r) => count(r.keys), figure: true},
    {name: "memory", of: (r) => bytes(r.keys * r.key_bytes), figure: true},
    {name: "evicted", of: (r) => r.evicted > 0 ? {text: count(r.evicted), state: "bad"} : "0", figure: true},
  ], s.rules, (r) => r.group + "/" + r.name, "There are no rules.");
  table(at("notifiers-table"), [
    {name: "notifier", of: (n) => n.name}, {name: "type", of: (n) => n.type},
    {name: "delivered", of: (n) => count(n.delivered), figure: true},
    {name: "waiting", of: (n) => count(n.queued), figure: true},
    {name: "failed", of: (n) => n.failed > 0 ? {text: count(n.failed), state: "bad"} : "0", figure: true},
  ], s.notifiers, (n) => n.name, "There are no notifiers.");
}

function showRejects({rejects}) {
  table(at("rejects-table"), [
    {name: "time", of: (r) => clock(Date.parse(r.taken))},
    {name: "stage", of: (r) => r.stage}, {name: "reason", of: (r) => r.reason.replaceAll("_", " ")},
    {name: "from", of: (r) => r.source ?? r.sink ?? ""}, {name: "listener", of: (r) => r.listener ?? ""},
    {name: "column", of: (r) => r.column ?? "", figure: true},
    {name: "text", of: (r) => r.text ?? "", long: true},
    {name: "the server's words", of: (r) => r.words ?? "", long: true},
  ], rejects, (r) => [r.taken, r.stage, r.reason, r.source].join(" "), "Nothing was rejected.");
}

function show(picture) {
  const speeds = speedsOf(picture, before);
  showHead(picture);
  showNow(picture, speeds);
  showFlow(picture, speeds);
  remember(picture, speeds);
  showRates();
  showLatency(picture);
  showAlerts(picture);
  showQueues(picture);
  showSinks(picture);
  showTenants(picture);
  showRules(picture);
  showRejects(picture);
  before = picture;
}

function freshness(connected) {
  const banner = at("lost");
  const stale = !connected || lastEvent > 0 && Date.now() - lastEvent > 5000;
  if (banner.hidden !== stale) return; // as it should be
  banner.hidden = !stale;
  text(banner, stale ? "No connection to the gateway" + (lastEvent > 0 ?
    ` since ${clock(lastEvent)}: these figures are old.` : ".") : "");
  document.body.classList.toggle("stale", stale);
}

const source = new EventSource("api/v1/stream");
source.addEventListener("picture", (event) => {
  lastEvent = Date.now();
  freshness(true);
  show(JSON.parse(event.data));
});
source.addEventListener("error", () => freshness(false));
setInterval(() => freshness(source.readyState === EventSource.OPEN), 1000);

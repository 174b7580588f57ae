// The ledger as a way from the card to the database: stations, what joins them and what leaves.

import {count, listed, rate, sum} from "./format.js";
import {children, make, text} from "./dom.js";

const droppedByXDP = ["malformed", "source", "tenant_limit", "source_limit"];

const words = {
  off: "steering is off", truncated: "too short", other_mac: "another host's MAC", vlan_depth: "VLAN tags",
  not_ip: "not IP", not_udp: "not UDP", not_ours: "no listener", no_metadata: "no room for metadata",
  too_long: "too long", ring_full: "ring full", dropped: "no free frame",
  source: "source not allowed", tenant_limit: "over its tenant's limit",
  source_limit: "over its share of the limit", spool_full: "spool full", undelivered: "not delivered in time",
  overload: "no free batch", oversize: "longer than a batch", ttl: "too old",
};

const inWords = (name) => words[name] ?? name.replaceAll("_", " ").replace("/", ": ");

const leaving = (counts, kind, prefix = "") => Object.keys(counts).filter((name) => name.startsWith(prefix))
  .sort().map((name) => ({name: inWords(name.slice(prefix.length)), count: counts[name], kind}));

/** How many packets the XDP program refused. */
export function refusedByXDP(s) {
  return sum(Object.fromEntries(s.interfaces.flatMap((at) => droppedByXDP.map((name) =>
    [at.name + "/" + name, at.verdicts[name] ?? 0]))));
}

/** The stations of a status document. What leaves is a loss, a wait, or goes aside as it should. */
export function stations(s) {
  const {ledger: l, packets: p} = s;
  const verdicts = {};
  for (const at of s.interfaces) {
    for (const [name, n] of Object.entries(at.verdicts)) verdicts[name] = (verdicts[name] ?? 0) + n;
  }
  const seen = sum(verdicts);
  const {redirected = 0, ...others} = verdicts;
  const refused = {}, passed = {};
  for (const [name, n] of Object.entries(others)) (droppedByXDP.includes(name) ? refused : passed)[name] = n;
  const rejected = leaving(l.rejected, "loss", "decode/");
  const met = l.received + l.derived - sum(Object.fromEntries(rejected.map((r) => [r.name, r.count])));
  const waiting = [{name: "in flight", count: l.in_flight, kind: "wait"}];
  if (l.spool_pending > 0) waiting.push({name: "in the spool", count: l.spool_pending, kind: "wait"});
  return [
    {name: "Network card", unit: "packets", count: seen,
      leaves: [...leaving(refused, "loss"),
        ...(sum(passed) > 0 ? [{name: "to the kernel", count: sum(passed), kind: "aside",
          note: listed(Object.fromEntries(leaving(passed).map((v) => [v.name, v.count])))}] : [])]},
    {name: "XDP steering", unit: "packets", count: redirected, leaves: leaving(p.drops, "loss")},
    {name: "Workers", unit: "packets", count: p.received,
      joins: p.kernel > 0 ? [{name: "by kernel sockets", count: p.kernel}] : [],
      leaves: [...leaving(p.rejected, "loss"),
        ...(p.kernel_drops > 0 ? [{name: "kernel socket full", count: p.kernel_drops, kind: "loss"}] : [])]},
    {name: "Decoder", unit: "points", count: l.received, leaves: rejected},
    {name: "Rules", unit: "points", count: met,
      joins: l.derived > 0 ? [{name: "made by records", count: l.derived}] : [],
      leaves: l.filtered > 0 ? [{name: "filtered", count: l.filtered, kind: "aside"}] : []},
    {name: "Batches", unit: "points", count: met - l.filtered + l.copied + l.restored,
      joins: [{name: "copies for further servers", count: l.copied},
        {name: "from the spool", count: l.restored}].filter((j) => j.count > 0),
      leaves: [...leaving(l.dropped, "loss"), ...leaving(l.rejected, "loss", "sink/")
        .map((r) => ({...r, name: "refused: " + r.name})), ...waiting]},
    {name: "Database", unit: "points", count: l.written, leaves: []},
  ];
}

/** Draws the stations; before is the stations of an earlier moment, so many seconds ago. */
export function draw(list, now, before, seconds) {
  const then = new Map();
  for (const station of before ?? []) {
    then.set(station.name, station.count);
    for (const leave of station.leaves) then.set(station.name + "/" + leave.name, leave.count);
  }
  // What was not there before was 0 then.
  const since = (name, n) => before ? Math.max(0, n - (then.get(name) ?? 0)) / seconds : null;
  children(list, now, (station) => station.name, () => {
    const li = make("li", "station");
    const box = make("div", "box");
    box.append(make("h3"), make("p", "joins"), make("p", "figure total"), make("p", "speed"));
    li.append(box, make("ul", "leaves"));
    return li;
  }, (li, station) => {
    const [name, joins, total, speed] = li.firstChild.children;
    text(name, station.name);
    text(total, count(station.count) + " " + station.unit);
    text(speed, rate(since(station.name, station.count)));
    text(joins, (station.joins ?? []).map((j) => "+ " + count(j.count) + " " + j.name).join(", "));
    li.lastChild.setAttribute("aria-label", "leaves at " + station.name);
    li.lastChild.hidden = station.leaves.length === 0;
    children(li.lastChild, station.leaves, (leave) => leave.name, () => {
      const item = make("li");
      item.append(make("span", "figure"), make("span"), make("span", "speed"));
      return item;
    }, (item, leave) => {
      const [n, what, speedNow] = item.children;
      const growing = since(station.name + "/" + leave.name, leave.count);
      text(n, count(leave.count));
      text(what, leave.name + (leave.note ? ": " + leave.note : ""));
      text(speedNow, leave.kind !== "wait" && growing > 0 ? "+" + rate(growing) : "");
      const state = leave.kind + (leave.kind === "loss" && growing > 0 ? " growing" : "");
      if (item.className !== state) item.className = state;
    });
  });
}

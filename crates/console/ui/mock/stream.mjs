// The stream of events, as the contract has it: a whole graph first, then what is different; ids, so that it can go on.
import { graphOf } from "./graph.mjs";
import { graphOptions } from "./server.mjs";
import { examples } from "./tracing.mjs";
import { info } from "./lists.mjs";
import { lines } from "./logs.mjs";

export function stream(context, streams, query, request, response) {
  const topics = new Set((query.get("topics") ?? "").split(","));
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" });
  response.write("retry: 1000\n\n");
  let id = Number(request.headers["last-event-id"] ?? 0);
  let before = null;
  const known = new Map();
  let logged = Math.floor(context.now());
  const emit = (event, data) => response.write(`id: ${++id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  const step = () => {
    const at = Math.floor(context.now());
    if (topics.has("graph")) {
      const options = graphOptions(query, at);
      const now = graphOf(context.world, options, (t) => examples(context.world, t));
      // What it had is not kept by this server: after a break it sends everything anew.
      emit("graph", patch(before, now, options));
      before = now;
    }
    if (topics.has("health")) {
      for (const n of info(context).namespaces) if (known.get(n.name) !== n.health) { known.set(n.name, n.health); emit("health", { kind: "namespace", namespace: n.name, name: n.name, status: n.health }); }
    }
    if (topics.has("logs")) {
      for (const line of lines(context.world, query.get("namespace"), query.get("workload"), logged, at)) emit("logs", line);
      logged = at;
    }
    response.write(": alive\n\n");
  };
  const onChange = (change) => { if (topics.has("changes")) emit("changes", change); };
  context.config.listeners.add(onChange);
  step();
  const timer = setInterval(step, context.interval * 1000);
  streams.add(response);
  response.on("close", () => { clearInterval(timer); context.config.listeners.delete(onChange); streams.delete(response); });
}

function patch(before, now, options) {
  const different = (old, list, id) => [...list.values()].filter((x) => !old || JSON.stringify(old.get(id(x))) !== JSON.stringify(x));
  const edgeId = (e) => `${e.source}>${e.target}>${e.protocol}`;
  return {
    whole: before === null, timestamp: options.at, duration: options.duration,
    nodes: different(before?.nodes, now.nodes, (n) => n.key), edges: different(before?.edges, now.edges, edgeId),
    goneNodes: before ? [...before.nodes.keys()].filter((k) => !now.nodes.has(k)) : [],
    goneEdges: before ? [...before.edges.keys()].filter((k) => !now.edges.has(k)) : [],
  };
}

// SPDX-License-Identifier: MIT
// Speaks what the page asks `spillway serve` for, without a model: the page's files, and JSON of the same shape. The
// numbers of /api/spillway/live move with each request, not with time. The last word of a chat chooses what happens:
// "endless" never ends, "fail" breaks off, "hostile" tries to run script, "slowly" waits at each step until go() is
// called; anything else is answered.
import {createServer} from "node:http";
import {readFile} from "node:fs/promises";
import {extname, join} from "node:path";

const GIB = 1024 ** 3;
const TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"};

const MODELS = [
  {name: "gpt-oss:120b", size: 60.8 * GIB, capabilities: ["completion", "tools", "thinking"],
   details: {family: "gpt-oss", parameter_size: "117B", quantization_level: "MXFP4", context_length: 131072}},
  {name: "llama3.3:70b", size: 39.6 * GIB, capabilities: ["completion", "tools"],
   details: {family: "llama", parameter_size: "70.6B", quantization_level: "Q4_K_M", context_length: 131072}},
  {name: "qwen3-vl:30b", size: 19.6 * GIB, capabilities: ["completion", "tools", "vision"],
   details: {family: "qwen3vlmoe", parameter_size: "31.1B", quantization_level: "Q4_K_M", context_length: 262144}},
  {name: "nomic-embed-text:latest", size: 0.26 * GIB, capabilities: ["embedding"],
   details: {family: "nomic-bert", parameter_size: "137M", quantization_level: "F16", context_length: 2048}},
];

export const ANSWER = `A spillway lets water past a dam **in a controlled way**. This one does the same with weights:

1. What is *hot* stays in memory.
2. What is not waits on the disk:
   - whole layers, in order
   - single experts, as the router asks

| tier | read at | holds |
|:--|--:|:-:|
| GPU | 448 GB/s | 12 GiB |
| RAM | 41 GB/s | 40 GiB |
| disk | 3.1 GB/s | the rest |

\`\`\`python
def speed(active_bytes, hit_rate, disk_bytes_per_s):
    missed = active_bytes * (1 - hit_rate)
    return disk_bytes_per_s / missed  # tokens per second
\`\`\`

See [the design](https://example.org/design), or run \`spillway run --stats\`.`;

const HOSTILE = `<script>document.title = "owned"</script> <img src=x onerror="document.title='owned'">

[click](javascript:document.title='owned') ![pixel](https://example.org/pixel.png)`;

// A generator with a seed, so that each run shows the same picture.
function random(seed) {
  let state = seed;
  return () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32);
}

function residencyOfExperts(n_layer, n_expert) {
  const next = random(7);
  const layers = [];
  for (let layer = 0; layer < n_layer; ++layer) {
    let experts = "";
    let heat = "";
    for (let expert = 0; expert < n_expert; ++expert) {
      const warmth = next() ** 2 * (layer < n_layer / 2 ? 1 : 0.85);
      heat += Math.min(9, Math.floor(warmth * 10));
      experts += warmth > 0.82 ? "g" : warmth > 0.2 ? "r" : warmth > 0.16 ? "p" : "d";
    }
    layers.push({dense: layer < 6 ? {gpu: 40e6, ram: 0, disk: 0} : {gpu: 0, ram: 40e6, disk: 0}, experts, heat});
  }
  return {model: "gpt-oss:120b", n_layer, n_expert, layers};
}

function residencyOfLayers(n_layer) {
  const layers = [];
  for (let layer = 0; layer < n_layer; ++layer) {
    const streamed = layer % 3 === 2 ? 480e6 : layer % 3 === 1 ? 120e6 : 0;
    layers.push({dense: layer < 12 ? {gpu: 500e6, ram: 0, disk: 0} : {gpu: 0, ram: 500e6 - streamed, disk: streamed},
                 experts: ""});
  }
  return {model: "llama3.3:70b", n_layer, n_expert: 0, layers};
}

// `mmap`: the first model is left to the kernel, and nothing was read. `base`: the model without a template; `heldLoad`: a promise that loads wait for.
export async function startFakeServer({uiFolder, apiKey = "", residency = true, models = MODELS, base = "", heldLoad, mmap = false} = {}) {
  const seen = [];  // {method, path, body}
  let tick = 0;
  let loading = null;  // of /api/spillway/live
  const steps = [];    // of a chat that goes slowly, to be said one by one
  let saySlowly = () => {};
  const sampled = {experts: residencyOfExperts(36, 128), layers: residencyOfLayers(80)};

  const live = () => {
    ++tick;
    const wave = (period, size) => Math.sin(tick / period) * size;
    const passes = tick * 6;
    return {time: "2026-01-01T00:00:00Z", loading, waiting: loading ? 1 : 0, models: [
      {model: "gpt-oss:120b", mode: "stream", why: "48 GiB may be used, the weights are 60.8 GiB: experts are kept by how often they are asked for",
       weights_bytes: 60.8 * GIB, gpu_bytes: 10.4 * GIB, ram_bytes: 34.2 * GIB, disk_bytes: 16.2 * GIB,
       memory: {budget_bytes: 40 * GIB, pinned_bytes: 3.1 * GIB, pool_bytes: 31.1 * GIB, ring_pool_bytes: 0, rows_bytes: 1.1 * GIB,
                other_bytes: 2.6 * GIB},
       predicted: {tok_per_s: 6.4, bytes_read_per_token: 420e6, active_bytes: 3.1e9},
       disk: {bytes_per_s: 3.1e9, read_bytes: 1 << 20, depth: 32, ring: "io_uring", direct: true},
       reads: {bytes: tick * 2.3e9 + wave(4, 3e8), hits: tick * 520 + wave(5, 30), misses: tick * 56,
               disk_wait_s: tick * 0.31, reader_busy_s: tick * 0.7, major_faults: 0},
       passes, pass_s: tick * 0.98, tokens: {prompt: 812, cached: 340, answer: passes}, queued: tick > 1 ? 2 : 0,
       slots: [{id: 0, is_processing: true, state: "answer", n_ctx: 8192, context_tokens: 1204, prompt_tokens: 812, answer_tokens: 392},
               {id: 1, is_processing: false, state: "idle", n_ctx: 8192, context_tokens: 0, prompt_tokens: 0, answer_tokens: 0}],
       prompt_cache: {memory_bytes: 0, disk_bytes: 0, restored: 0, stored: 0}},
      {model: "llama3.3:70b", mode: "stream", why: "the layers that do not fit are read ahead in each pass",
       weights_bytes: 39.6 * GIB, gpu_bytes: 6 * GIB, ram_bytes: 26 * GIB, disk_bytes: 7.6 * GIB,
       memory: {budget_bytes: 30 * GIB, pinned_bytes: 24 * GIB, pool_bytes: 2 * GIB, ring_pool_bytes: 2 * GIB, rows_bytes: 0.5 * GIB,
                other_bytes: 2 * GIB},
       predicted: {tok_per_s: 0.41, bytes_read_per_token: 7.6 * GIB, active_bytes: 40e9},
       reads: {bytes: 0, hits: 0, misses: 0, disk_wait_s: 0, reader_busy_s: 0, major_faults: 0},
       passes: 0, pass_s: 0, tokens: {prompt: 0, cached: 0, answer: 0}, queued: 0,
       slots: [{id: 0, is_processing: false, state: "idle", n_ctx: 4096, context_tokens: 0, prompt_tokens: 0, answer_tokens: 0}],
       prompt_cache: {memory_bytes: 0, disk_bytes: 0, restored: 0, stored: 0}}]};
  };

  const liveMapped = () => {
    const found = live();
    const model = found.models[0];
    Object.assign(model, {mode: "mmap", why: "asked for", gpu_bytes: 0, ram_bytes: 52.8 * GIB, disk_bytes: 8 * GIB,
                          page_cache_bytes: 52.8 * GIB});
    Object.assign(model.memory, {pinned_bytes: 0, pool_bytes: 0});
    Object.assign(model.reads, {bytes: 0, hits: 0, misses: 0, disk_wait_s: 0});
    Object.assign(model.predicted, {tok_per_s: 0.2, bytes_read_per_token: 0});
    found.models.length = 1;
    return found;
  };

  const chat = (body, response) => {
    const say = (message, more = {}) =>
      response.write(`${JSON.stringify({model: body.model, created_at: "2026-01-01T00:00:00Z",
                                        message: {role: "assistant", content: "", ...message}, done: false, ...more})}\n`);
    const word = body.messages.at(-1).content.trim().split(/\s+/).at(-1);
    if (word === "refuse") {
      response.writeHead(503, {"Content-Type": "application/json", "Retry-After": "1"});
      response.end('{"error":"server busy, please try again. maximum pending requests exceeded"}');
      return;
    }
    response.writeHead(200, {"Content-Type": "application/x-ndjson"});
    if (word === "slowly") {
      steps.push({phase: "queue", ahead: 2},
                 {phase: "loading", model: body.model, done: 15.2 * GIB, total: 60.8 * GIB, elapsed_s: 10},
                 {phase: "prompt", done: 3072, total: 12940, cached: 1024, elapsed_s: 16, n_ctx: 16384});
      saySlowly = (progress) => (progress ? say({}, {progress}) : finish());
      const finish = () => {
        say({content: "At last."});
        say({}, {done: true, done_reason: "stop", prompt_eval_count: 12940, prompt_eval_cached_count: 1024, eval_count: 1460, eval_duration: 3e9});
        response.end();
      };
      response.flushHeaders();
      return;
    }
    if (word === "endless") {
      const timer = setInterval(() => say({content: "more "}), 2);
      response.on("close", () => {
        clearInterval(timer);
        seen.push({method: "CLOSED", path: "/api/chat"});
      });
      return;
    }
    if (word === "fail") {
      say({content: "Half an "});
      response.end('{"error":"blk.7.ffn_up_exps.weight: read failed twice at offset 4096: Input/output error"}\n');
      return;
    }
    if (word === "cut") {
      say({content: "Half an "});
      response.end();
      return;
    }
    say({}, {progress: {phase: "prompt", done: 812, total: 812, cached: 340, elapsed_s: 0.3, n_ctx: 8192}});
    for (const piece of ["The user wants ", "to know what ", "a spillway is."]) say({thinking: piece});
    const text = word === "hostile" ? HOSTILE : ANSWER;
    for (let at = 0; at < text.length; at += 7) say({content: text.slice(at, at + 7)});
    say({}, {done: true, done_reason: "stop", total_duration: 2e9, load_duration: 1e6, prompt_eval_count: 812,
             prompt_eval_cached_count: 340, prompt_eval_duration: 3e8, eval_count: 120, eval_duration: 20e9});
    response.end();
  };

  const server = createServer(async (request, response) => {
    const {pathname: path, searchParams} = new URL(request.url, "http://localhost");
    let text = "";
    for await (const piece of request) text += piece;
    const body = text === "" ? undefined : JSON.parse(text);
    seen.push({method: request.method, path, body, headers: request.headers});
    const json = (object, status = 200) => {
      response.writeHead(status, {"Content-Type": "application/json; charset=utf-8"});
      response.end(JSON.stringify(object));
    };
    const isPage = path === "/" || path === "/ui" || path.startsWith("/ui/");
    if (isPage) {
      const name = path.startsWith("/ui/") && path !== "/ui/" ? path.slice(4) : "index.html";
      const bytes = await readFile(join(uiFolder, name)).catch(() => null);
      response.writeHead(bytes ? 200 : 404, {"Content-Type": TYPES[extname(name)] ?? "text/plain", "X-Content-Type-Options": "nosniff"});
      response.end(bytes ?? "404 page not found");
    } else if (apiKey && request.headers.authorization !== `Bearer ${apiKey}`) {
      json({error: "invalid API key"}, 401);
    } else if (path === "/api/tags") {
      json({models: models.map((model) => ({...model, model: model.name, modified_at: "2026-01-01T00:00:00Z", digest: "0".repeat(64)}))});
    } else if (path === "/api/ps") {
      const never = "2318-01-01T00:00:00Z";
      json({models: models.slice(0, 1).map((model) => ({name: model.name, model: model.name, size: model.size, size_vram: 0,
                                                       expires_at: never, context_length: 8192}))});
    } else if (path === "/props") {
      json({server: "spillway", version: "0.1.0"});
    } else if (path === "/api/spillway/live") {
      json(models.length > 0 ? (mmap ? liveMapped() : live()) : {time: "2026-01-01T00:00:00Z", models: []});
    } else if (path === "/api/spillway/residency" && residency) {
      const found = searchParams.get("model") === "gpt-oss:120b" ? sampled.experts : sampled.layers;
      json(residency === "kernel" ? {...found, n_layer: 0, layers: []} : {...found, ...(mmap ? {page_cache: true} : {})});
    } else if (path === "/api/spillway/forecast") {
      const name = searchParams.get("model");
      if (name === "gpt-oss:120b")
        json({model: name, loaded: false, mode: "stream", why: "it does not fit", weights_bytes: 60.8 * GIB, memory_bytes: 48 * GIB,
              predicted: {tok_per_s: 6.4, load_s: 41, bytes_read_per_token: 420e6}});
      else json({error: "the budget of 30 GiB is too small: at least 31 GiB is needed to stream this model"}, 500);
    } else if (path === "/api/show") {
      if (body.model === base) json({model_info: {}, template: "", capabilities: ["completion"]});
      else json({parameters: "temperature                    1\nstop                           \"<|end|>\"\ntop_p                          0.95",
                 system: "You are kind.", model_info: {"general.architecture": "gpt-oss", "gpt-oss.block_count": 36}, template: "{{ messages }}", capabilities: []});
    } else if (path === "/api/generate") {
      if (heldLoad) await heldLoad;
      json({model: body.model, response: "", done: true, done_reason: body.keep_alive === 0 ? "unload" : "load"});
    } else if (path === "/api/pull") {
      response.writeHead(200, {"Content-Type": "application/x-ndjson"});
      for (const completed of [0, 50, 100]) response.write(`${JSON.stringify({status: "pulling abc", digest: "abc", total: 100, completed})}\n`);
      response.end('{"status":"success"}\n');
    } else if (path === "/api/chat") {
      chat(body, response);
    } else {
      response.writeHead(404);
      response.end("404 page not found");
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    seen,
    go: () => saySlowly(steps.shift()),
    setLoading: (now) => (loading = now),
    close: () => new Promise((resolve) => {
      server.closeAllConnections();
      server.close(resolve);
    }),
  };
}

// A client of PVC in Node.js, whole: several coordinators, certificates, deadlines, writes that are made once, a task
// that is followed, a watch that goes on. docs/clients.md explains it.
//
//   node pvc.mjs list [FILTER]       VMs
//   node pvc.mjs start NAME          starts a VM and waits for it
//   node pvc.mjs watch [COUNT]       changes of VMs, for ever or so many
//   node pvc.mjs health              whether each coordinator serves
//
// PVC_COORDINATORS is host:port,host:port; PVC_CREDENTIALS a folder with ca.pem, node.pem and node.key; PVC_PROTO
// the folder proto/proto of PVC's source.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const { PVC_COORDINATORS, PVC_CREDENTIALS, PVC_PROTO, PVC_TOKEN } = process.env;
const DEADLINE_MS = 30_000;
const ATTEMPT_MS = 5_000;

// 64-bit integers as texts, so that none is rounded; enums as their names.
const shape = { includeDirs: [PVC_PROTO], longs: String, enums: String, defaults: true, keepCase: true };
const files = ["vm", "node", "task", "volume", "cluster", "token"].map((name) => `pvc/v1/${name}.proto`);
const { pvc } = grpc.loadPackageDefinition(loader.loadSync(files, shape));
const Health = grpc.makeGenericClientConstructor(
  {
    Check: {
      path: "/grpc.health.v1.Health/Check",
      requestStream: false,
      responseStream: false,
      requestSerialize: () => Buffer.alloc(0), // HealthCheckRequest without a service: the whole server
      requestDeserialize: (bytes) => bytes,
      responseSerialize: (bytes) => bytes,
      responseDeserialize: (bytes) => ["UNKNOWN", "SERVING", "NOT_SERVING"][bytes[1] ?? 0], // its one field
    },
  },
  "Health",
);

const read = (name) => readFileSync(join(PVC_CREDENTIALS, name));
const credentials = grpc.credentials.createSsl(
  read("ca.pem"),
  // With a token there need be no certificate.
  PVC_TOKEN ? null : read("node.key"),
  PVC_TOKEN ? null : read("node.pem"),
);
// Every node's certificate has this name, and nobody else's: it says "a node of this cluster", whatever the address.
const options = { "grpc.ssl_target_name_override": "pvc-coordinator", "grpc.enable_http_proxy": 0 };

const clients = new Map();
function client(Service, address) {
  const key = `${Service.serviceName} ${address}`;
  if (!clients.has(key)) clients.set(key, new Service(address, credentials, options));
  return clients.get(key);
}

function metadata() {
  const shown = new grpc.Metadata();
  if (PVC_TOKEN) shown.set("authorization", `Bearer ${PVC_TOKEN}`);
  return shown;
}

// The coordinators, the likeliest to answer first.
let order = (PVC_COORDINATORS ?? "").split(",").filter(Boolean);
const first = (address) => (order = [address, ...order.filter((other) => other !== address)]);
const last = (address) => (order = [...order.filter((other) => other !== address), address]);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const helps = (error) => [grpc.status.UNAVAILABLE, grpc.status.DEADLINE_EXCEEDED].includes(error.code);

// Any coordinator answers any call: those that only the leader can answer it passes on.
async function call(Service, method, request) {
  const until = Date.now() + DEADLINE_MS;
  for (let attempt = 1; ; attempt++) {
    const address = order[0];
    try {
      return await new Promise((resolve, reject) =>
        client(Service, address)[method](
          request,
          metadata(),
          { deadline: Math.min(until, Date.now() + ATTEMPT_MS) },
          (error, answer) => (error ? reject(error) : resolve(answer)),
        ),
      );
    } catch (error) {
      if (!helps(error) || Date.now() >= until) throw error;
      last(address);
      const leader = error.metadata?.get("pvc-leader")[0];
      if (leader) first(leader);
      if (attempt % order.length === 0) await pause(300);
    }
  }
}

// A write that is sent again with the same request id is made once.
const write = (Service, method, request) => call(Service, method, { ...request, request_id: randomUUID() });

async function* stream(Service, method, request) {
  const open = client(Service, order[0])[method](request, metadata());
  try {
    yield* open;
  } finally {
    open.cancel();
  }
}

async function* pages(filter) {
  let page_token = "";
  do {
    const page = await call(pvc.v1.VmService, "ListVms", { name_filter: filter, page_token });
    yield* page.vms;
    page_token = page.next_page_token;
  } while (page_token);
}

async function wait(task) {
  for (;;) {
    try {
      for await (const state of stream(pvc.v1.TaskService, "WatchTask", { name: task.meta.name })) {
        if (state.state !== "TASK_STATE_RUNNING") return state;
        console.log(`  ${state.stage} ${state.progress}`.trimEnd());
      }
    } catch (error) {
      if (!helps(error)) throw error;
      last(order[0]);
    }
    await pause(300);
  }
}

// Begins with a list; goes on after the last bookmark where it breaks off, or anew when that is too long ago.
async function* watch() {
  let start_revision = "0";
  for (;;) {
    try {
      for await (const change of stream(pvc.v1.VmService, "WatchVms", { start_revision })) {
        if (change.kind === "CHANGE_KIND_BOOKMARK") start_revision = change.revision;
        else yield change;
      }
    } catch (error) {
      if (error.code === grpc.status.OUT_OF_RANGE) start_revision = "0";
      else if (!helps(error)) throw error;
      else last(order[0]);
    }
    await pause(300);
  }
}

async function main([command, argument]) {
  if (command === "list") {
    for await (const vm of pages(argument ?? "")) console.log(vm.meta.name, vm.status?.phase ?? "-", vm.spec.vcpus);
  } else if (command === "start") {
    const task = await wait(await write(pvc.v1.VmService, "StartVm", { name: argument }));
    console.log(task.subject, task.state, task.message);
  } else if (command === "watch") {
    let left = Number(argument ?? Infinity);
    for await (const change of watch()) {
      console.log(change.kind, change.vm.meta.name, change.revision);
      if (--left <= 0) break;
    }
  } else if (command === "health") {
    for (const address of [...order]) {
      first(address);
      console.log(address, await call(Health, "Check", {}));
    }
  } else {
    throw new Error("list, start, watch or health");
  }
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error) => {
    // The details of a refusal name the rule, the object and a command that helps; the message says it all by itself.
    console.error(`error: ${error.details ?? error.message}`);
    process.exit(1);
  },
);

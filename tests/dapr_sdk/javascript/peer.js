// An application of the Dapr SDK for JavaScript: a client of the output "rmq", and the server of the input "rmq".
//   node peer.js http|grpc
// The SDK finds its side by DAPR_HTTP_ENDPOINT or DAPR_GRPC_ENDPOINT; APP_PORT is where the application listens. Calls and messages
// are printed, a JSON object a line (tests/dapr_compatibility/sdk/program.rs says when).
const { Code } = require("@connectrpc/connect");
const { CommunicationProtocolEnum, DaprClient, DaprServer, LogLevel } = require("@dapr/dapr");
const { version } = require("@dapr/dapr/package.json");
const express = require("express");

const isHttp = process.argv[2] === "http";
const communicationProtocol = isHttp ? CommunicationProtocolEnum.HTTP : CommunicationProtocolEnum.GRPC;
const logger = { level: LogLevel.Error };
const seen = new Set();
const say = (kind, what) => console.log(JSON.stringify({ [kind]: what }));
const RECEIVE = 'server.binding.receive("rmq", callback)';

// How often each message comes at least, by the words of its row.
const expects = new Map();

function wordsOf(data) {
  if (typeof data === "string") return data === "text" ? "the callback gets a string" : "the callback gets bytes";
  if (data.type === "Buffer") return "the callback gets a Buffer as JSON";
  if (data.text === "value") return "the callback returns a value";
  if (data.text === "refused") return "the callback throws the first time";
  return "the callback gets an object";
}

const escaped = (character) => "\\u" + character.charCodeAt(0).toString(16).padStart(4, "0");

async function receive(data) {
  const words = wordsOf(data);
  const body = typeof data === "string" ? data : JSON.stringify(data);
  const differs = data.type === "Buffer" ? "exact" : "";
  say("received", { text: RECEIVE, words, differs, seen: { body: body.replace(/[\0\ufffd]/g, escaped), type: typeof data } });
  if (words === "the callback throws the first time" && !seen.has(words)) {
    seen.add(words);
    throw new Error("not yet");
  }
  return words === "the callback returns a value" ? { status: "processed" } : undefined;
}

// The SDK's server over HTTP refuses some bodies before they reach the callback.
function withRefusals() {
  // In its environment "test" express prints no stack of each refusal.
  return express().set("env", "test").use((request, response, next) => {
    response.on("finish", () => {
      if (request.method === "POST" && response.statusCode === 400) {
        const words = "the body parser refuses a JSON string";
        say("received", { text: RECEIVE, words, seen: { answer: "400" }, refused: true });
      }
    });
    next();
  });
}

function failure(error) {
  const shown = { throws: error.constructor.name };
  if (!isHttp) {
    const details = error.details.map((detail) => detail.type ?? "").join(", ");
    return { ...shown, code: Code[error.code], message: error.message, details };
  }
  // Over HTTP the message is JSON, with what was answered.
  const { status, error_msg } = JSON.parse(error.message);
  const answer = JSON.parse(error_msg);
  return { ...shown, status: String(status), errorCode: answer.errorCode, message: answer.message };
}

async function call(text, promise, row = {}) {
  let shown;
  try {
    shown = await promise();
  } catch (error) {
    shown = failure(error);
  }
  say("call", { text, seen: shown, ...row });
}

function shownAnswer(answer) {
  if (isHttp) {
    const list = Array.isArray(answer) ? `a JSON list with ${Object.keys(answer[0]).sort().join(", ")}` : JSON.stringify(answer);
    return { returns: list ?? "undefined" };
  }
  const text = Buffer.from(answer.data ?? []).toString();
  const data = text && `a JSON list with ${Object.keys(JSON.parse(text)[0]).sort().join(", ")}`;
  const keys = Object.fromEntries(Object.keys(answer.metadata).map((key) => [key, "…"]));
  return { returns: Object.keys(answer).sort().join(", "), operation: answer.operation, data, ...keys };
}

function shownMetadata({ id, components, actors, extended }) {
  const shown = components.map(({ name, type, version, capabilities }) => `${name} ${type} ${version} ${capabilities.join(" ")}`);
  return { id, components: shown.join(", "), "extended colour": extended?.colour ?? "", actors: JSON.stringify(actors ?? []) };
}

async function withTheClient(client) {
  const send = (text, ...rest) => {
    const [row] = rest.splice(-1);
    return call(`client.binding.send(${text})`, async () => shownAnswer(await client.binding.send(...rest)), row);
  };
  const stores = { stores: true };
  await call("client.getIsInitialized()", async () => ({ returns: String(client.getIsInitialized()) }));
  await call("client.health.isHealthy()", async () => ({ returns: String(await client.health.isHealthy()) }));
  const metadata = { "rocketmq-tag": "blue", "rocketmq-key": "k1" };
  const blue = { stores: true, differs: "tag" };
  const shown = '{ "rocketmq-tag": "blue", "rocketmq-key": "k1" }';
  await send(`"rmq", "create", { number: 1 }, ${shown}`, "rmq", "create", { number: 1 }, metadata, blue);
  await send('"rmq", "create", "text"', "rmq", "create", "text", stores);
  await send('"rmq", "create", Buffer.from([0, 255])', "rmq", "create", Buffer.from([0, 255]), isHttp ? { ...stores, differs: "exact" } : stores);
  await send('"rmq", "create", { text: "value" }', "rmq", "create", { text: "value" }, stores);
  await send('"rmq", "create", { text: "refused" }', "rmq", "create", { text: "refused" }, stores);
  const [other] = process.env.OTHER_TOPICS.split(",");
  const topics = { "rocketmq-topic": process.env.OTHER_TOPICS };
  const toOther = '"rmq", "create", undefined, { "rocketmq-topic": "<other>" }';
  await send(toOther, "rmq", "create", undefined, { "rocketmq-topic": other }, isHttp ? {} : { differs: "empty" });
  const toBoth = '"rmq", "create", { x: 1 }, { "rocketmq-topic": "<other>,<another>" }';
  await send(toBoth, "rmq", "create", { x: 1 }, topics, { differs: "topics" });
  await send('"nope", "create", "x"', "nope", "create", "x", {});
  await send('"rmq", "list", "x"', "rmq", "list", "x", {});
  await send('"rmq", "", "x"', "rmq", "", "x", {});
  await call('client.metadata.set("colour", "blue")', async () => ({ returns: String(await client.metadata.set("colour", "blue")) }));
  await call("client.metadata.get()", async () => shownMetadata(await client.metadata.get()));
  await call('client.state.get("store", "key")', async () => ({ returns: String(await client.state.get("store", "key")) }), { differs: "state" });
}

async function main() {
  await call('require("@dapr/dapr")', async () => ({ version }));
  const server = new DaprServer({
    serverHost: "127.0.0.1",
    serverPort: process.env.APP_PORT,
    serverHttp: isHttp ? withRefusals() : undefined,
    communicationProtocol,
    clientOptions: { communicationProtocol, logger },
    logger,
  });
  await server.binding.receive("rmq", receive);
  await call("server.start()", async () => ({ returns: String(await server.start()) }));
  const client = new DaprClient({ communicationProtocol, logger });
  await call("client.start()", async () => ({ returns: String(await client.start()) }));
  await new Promise((resolve) => process.stdin.once("data", resolve));
  await withTheClient(client);
  expects.set("the callback gets an object", 1);
  if (isHttp) {
    expects.set("the body parser refuses a JSON string", 2);
    expects.set("the callback gets a Buffer as JSON", 1);
  } else {
    expects.set("the callback gets a string", 1);
    expects.set("the callback gets bytes", 1);
  }
  expects.set("the callback returns a value", 1);
  expects.set("the callback throws the first time", 2);
  say("expects", [...expects]);
  process.stdin.on("end", () => end(client)).resume();
}

async function end(client) {
  await call("client.sidecar.shutdown()", async () => ({ returns: String(await client.sidecar.shutdown()) }), { differs: "shutdown" });
  process.exit(0);
}

process.on("unhandledRejection", (error) => say("failed", String(error.stack ?? error)));
main().catch((error) => say("failed", String(error.stack ?? error)));

// An application of the Dapr SDK for JavaScript: it publishes to the binding "rmq" and receives what comes back.
//   node peer.js HTTP|GRPC
// The SDK finds the worker by DAPR_HTTP_ENDPOINT or DAPR_GRPC_ENDPOINT; APP_PORT is where the application listens. What it
// sees is printed, a JSON object a line; it ends when its standard input does.
const { CommunicationProtocolEnum, DaprClient, DaprServer, LogLevel } = require("@dapr/dapr");

const communicationProtocol = CommunicationProtocolEnum[process.argv[2]];
const logger = { level: LogLevel.Error };
const seen = new Set();
const say = (call, result) => console.log(JSON.stringify({ call, ...result }));

async function receive(data) {
  const body = typeof data === "string" ? data : JSON.stringify(data);
  say("received", { body });
  if (body.includes("again") && !seen.has(body)) {
    seen.add(body);
    throw new Error("not yet");
  }
}

async function errorOf(call) {
  try {
    await call();
    return { message: "" };
  } catch (error) {
    return { message: String(error.message ?? error) };
  }
}

async function main() {
  const client = new DaprClient({ communicationProtocol, logger });
  const server = new DaprServer({
    serverHost: "127.0.0.1",
    serverPort: process.env.APP_PORT,
    communicationProtocol,
    clientOptions: { communicationProtocol, logger },
    logger,
  });
  await server.binding.receive("rmq", receive);
  await server.start();
  await client.binding.send("rmq", "create", { number: 1 }, { "rocketmq-tag": "blue" });
  await client.binding.send("rmq", "create", { text: "again" });
  say("unknown", await errorOf(() => client.binding.send("nope", "create", "x")));
  const metadata = await client.metadata.get();
  say("metadata", { id: metadata.id, components: metadata.components.map((component) => component.name) });
  say("set", { done: await client.metadata.set("colour", "blue") });
  say("done", {});
}

process.on("unhandledRejection", (error) => say("failed", { error: String(error) }));
process.stdin.on("end", () => process.exit(0)).resume();
main().catch((error) => say("failed", { error: String(error.stack ?? error) }));

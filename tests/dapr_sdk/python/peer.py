"""An application of the Dapr SDK for Python: a client of the output "rmq", and the server of the input "rmq".

The SDK finds its side by DAPR_GRPC_ENDPOINT and DAPR_HTTP_ENDPOINT; APP_PORT is where the application listens. Calls and messages
are printed, a JSON object a line (tests/dapr_compatibility/sdk/program.rs says when).
"""

import asyncio
import importlib.metadata
import json
import os
import sys
import threading
import warnings

import grpc
from dapr.aio.clients import DaprClient as AsyncClient
from dapr.clients import DaprClient
from dapr.clients.exceptions import DaprGrpcError
from dapr.clients.health import DaprHealth
from dapr.ext.grpc import App, BindingRequest
from dapr.proto import api_service_v1, api_v1
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SQUEEZED = b"squeezed " * 500
# Messages, and what their rows say.
MESSAGES = {
    b"\x00\xff bytes": "the function gets bytes",
    b"text": "the function gets a str",
    b'{"number": 1}': "the function gets JSON",
    b"from asyncio": "the function gets what asyncio's client has sent",
    b"traced": "the function gets a message with a trace",
    SQUEEZED: "the function gets what was compressed with gzip",
    b"value": "the function returns a value",
    b"refused": "the function raises ValueError the first time",
}
# Deprecated calls are called too.
warnings.simplefilter("ignore")
printing = threading.Lock()
seen = set()
health_checks = []
app = App()


def say(kind, what):
    with printing:
        sys.stdout.write(json.dumps({kind: what}) + "\n")
        sys.stdout.flush()


@app.binding("rmq")
def receive(request: BindingRequest):
    words = MESSAGES[request.data]
    shown = {"data": repr(request.data) if len(request.data) < 100 else f"{len(request.data)} bytes"}
    row = {"text": '@app.binding("rmq")', "words": words, "seen": shown}
    header = {key: values[0] for key, values in request.metadata.items()}
    if request.data == b"text":
        for name, value in request.binding_metadata.items():
            shown[f"binding_metadata {name}"] = value
        for name in ("traceparent", "dapr-api-token"):
            shown[f"metadata {name}"] = header.get(name, "")
        row["differs"] = "delivery"
    if request.data == b"traced":
        shown["trace"] = "of the caller" if TRACE[3:35] in header.get("traceparent", "") else "another"
        row["differs"] = "trace"
    say("received", row)
    if request.data == b"refused" and words not in seen:
        seen.add(words)
        raise ValueError("not yet")
    return "a value" if request.data == b"value" else None


app.register_health_check(lambda: health_checks.append(1))


def failure(error):
    shown = {"raises": type(error).__name__, "code": error.code().name, "message": error.details()}
    if isinstance(error, DaprGrpcError):
        info = error.status_details().error_info or {}
        return {**shown, "reason": info.get("reason", ""), "domain": info.get("domain", "")}
    status, info = rpc_status.from_call(error), error_details_pb2.ErrorInfo()
    for detail in status.details if status else []:
        detail.Unpack(info)
    return {**shown, "reason": info.reason, "domain": info.domain}


def shown_result(result):
    if isinstance(result, dict):
        return result
    return {"returns": "None" if result is None else type(result).__name__}


def call(text, function, **row):
    try:
        shown = shown_result(function())
    except (grpc.RpcError, DaprGrpcError) as error:
        shown = failure(error)
    say("call", {"text": text, "seen": shown, **row})


async def call_async(text, awaitable, **row):
    try:
        shown = shown_result(await awaitable)
    except (grpc.RpcError, DaprGrpcError) as error:
        shown = failure(error)
    say("call", {"text": text, "seen": shown, **row})


def answer(response):
    data = response.json() if response.text() else ""
    if isinstance(data, list):
        data = "a JSON list with " + ", ".join(sorted(data[0]))
    elif data:
        data = json.dumps(data)
    return {"returns": type(response).__name__, "data": data, **{name: "…" for name in response.binding_metadata}}


def known(metadata):
    components = [f"{c.name} {c.type} {c.version} {' '.join(c.capabilities)}" for c in metadata.registered_components]
    return {
        "application_id": metadata.application_id,
        "registered_components": ", ".join(components),
        "extended_metadata colour": metadata.extended_metadata.get("colour", ""),
        "active_actors_count": str(metadata.active_actors_count),
    }


def with_the_client():
    topics = {"rocketmq-topic": os.environ["OTHER_TOPICS"]}
    call("DaprHealth.wait_for_sidecar()", DaprHealth.wait_for_sidecar)
    call("DaprHealth.wait_until_ready()", DaprHealth.wait_until_ready)
    with DaprClient() as client:
        call("client.wait(5)", lambda: client.wait(5))

        def create(text, *arguments, **row):
            call(f"client.invoke_binding({text})", lambda: answer(client.invoke_binding(*arguments)), **row)

        metadata = {"rocketmq-tag": "blue", "rocketmq-key": "k1"}
        create(
            '"rmq", "create", b"\\x00\\xff bytes", {"rocketmq-tag": "blue", "rocketmq-key": "k1"}',
            "rmq", "create", b"\x00\xff bytes", metadata, stores=True, differs="tag",
        )
        create('"rmq", "create", "text"', "rmq", "create", "text", stores=True)
        create('"rmq", "create", json.dumps({"number": 1})', "rmq", "create", json.dumps({"number": 1}), stores=True)
        trace = (("traceparent", TRACE),)
        create('"rmq", "create", "traced", metadata=(("traceparent", …),)', "rmq", "create", "traced", {}, trace, stores=True)
        create('"rmq", "create", "value"', "rmq", "create", "value", stores=True)
        create('"rmq", "create", "refused"', "rmq", "create", "refused", stores=True)
        create('"rmq", "create", "x", {"rocketmq-topic": "<other>,<another>"}', "rmq", "create", "x", topics, differs="topics")
        create('"rmq", "create"', "rmq", "create", differs="empty")
        create('"rmq", "create", b"z" * (4 << 20)', "rmq", "create", b"z" * (4 << 20))
        create('"nope", "create", "x"', "nope", "create", "x")
        create('"rmq", "list", "x"', "rmq", "list", "x")
        create('"rmq", "", "x"', "rmq", "", "x")
        receipts = []

        def read():
            response = client.invoke_binding("rmq", "read", "", {"maxMessages": "1", "timeout": "30s"})
            receipts.extend(message["receipt"] for message in response.json())
            return answer(response)

        row = {"differs": "documented"}
        call('client.invoke_binding("rmq", "read", "", {"maxMessages": "1", "timeout": "30s"})', read, **row)
        create('"rmq", "ack", json.dumps({"receipts": […]})', "rmq", "ack", json.dumps({"receipts": receipts or ["1"]}), differs="ack")
        call('client.set_metadata("colour", "blue")', lambda: client.set_metadata("colour", "blue"))
        call("client.get_metadata()", lambda: known(client.get_metadata()))
        call('client.get_state("store", "key")', lambda: client.get_state("store", "key"), differs="state")


async def with_asyncio():
    async with AsyncClient() as client:
        await call_async("await client.wait(5)", client.wait(5))

        async def create(*arguments):
            return answer(await client.invoke_binding(*arguments))

        await call_async(
            'await client.invoke_binding("rmq", "create", b"from asyncio")', create("rmq", "create", b"from asyncio"), stores=True
        )
        await call_async('await client.invoke_binding("nope", "create", "x")', create("nope", "create", "x"))
        await call_async('await client.set_metadata("colour", "green")', client.set_metadata("colour", "green"))

        async def get():
            return known(await client.get_metadata())

        await call_async("await client.get_metadata()", get())


def with_the_stub():
    with grpc.insecure_channel(os.environ["DAPR_GRPC_ENDPOINT"]) as channel:
        stub = api_service_v1.DaprStub(channel)
        token = [("dapr-api-token", os.environ["DAPR_API_TOKEN"])]
        ask = lambda metadata: {"id": stub.GetMetadata(api_v1.GetMetadataRequest(), metadata=metadata).id}
        call("stub.GetMetadata(…)", lambda: ask([]), words="without a token")
        call("stub.GetMetadata(…)", lambda: ask([("dapr-api-token", "x")]), words="with a wrong token")
        message = api_v1.InvokeBindingRequest(name="rmq", operation="create", data=SQUEEZED)

        def create(kind):
            response = stub.InvokeBinding(message, metadata=token, compression=kind)
            return {"data": response.data.decode(), **{name: "…" for name in response.metadata}}

        call("stub.InvokeBinding(…, compression=grpc.Compression.Gzip)", lambda: create(grpc.Compression.Gzip), stores=True)
        call("stub.InvokeBinding(…, compression=grpc.Compression.Deflate)", lambda: create(grpc.Compression.Deflate))

        def check():
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=""))
            return {"status": health_pb2.HealthCheckResponse.ServingStatus.Name(health.status)}

        call("HealthStub.Check(…)", check, words="without a token", differs="health")

        def reflect():
            questions = [
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol="dapr.proto.runtime.v1.Dapr"),
            ]
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            services, files = list(stub.ServerReflectionInfo(iter(questions), metadata=token))
            services = sorted(service.name for service in services.list_services_response.service)
            count = len(files.file_descriptor_response.file_descriptor_proto)
            return {"services": ", ".join(services), "files with Dapr": str(count)}

        call("ServerReflectionStub.ServerReflectionInfo(…)", reflect, differs="reflection")


def end():
    call("@app.register_health_check", lambda: {"called": f"{len(health_checks)} times"})
    with DaprClient() as client:
        call("client.shutdown()", client.shutdown, differs="shutdown")


threading.Thread(target=lambda: app.run(int(os.environ["APP_PORT"])), daemon=True).start()
try:
    sys.stdin.readline()
    call("import dapr", lambda: {"version": importlib.metadata.version("dapr")})
    with_the_client()
    asyncio.run(with_asyncio())
    with_the_stub()
    say("expects", [[words, 2 if body == b"refused" else 1] for body, words in MESSAGES.items()])
    sys.stdin.read()
    end()
except Exception as error:
    say("failed", repr(error))
os._exit(0)

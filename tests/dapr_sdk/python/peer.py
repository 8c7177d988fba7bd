"""An application of the Dapr SDK for Python: it publishes to the binding "rmq" and receives what comes back.

The SDK finds the worker by DAPR_GRPC_ENDPOINT and DAPR_HTTP_ENDPOINT; APP_PORT is where the application listens. What it
sees is printed, a JSON object a line; it ends when its standard input does.
"""

import json
import os
import sys
import threading

import grpc
from dapr.clients import DaprClient
from dapr.clients.exceptions import DaprGrpcError
from dapr.ext.grpc import App, BindingRequest
from dapr.proto import api_service_v1, api_v1
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

printing = threading.Lock()
seen = set()
app = App()


def say(call, **result):
    with printing:
        print(json.dumps({"call": call, **result}), flush=True)


@app.binding("rmq")
def receive(request: BindingRequest):
    body = request.data.decode("latin-1")
    header = {key: value if isinstance(value, str) else value[0] for key, value in dict(request.metadata).items()}
    say("received", body=body, trace=header.get("traceparent", ""), token=header.get("dapr-api-token", ""))
    if body == "again" and body not in seen:
        seen.add(body)
        raise ValueError("not yet")


def error_of(call):
    try:
        call()
    except DaprGrpcError as error:
        return {"code": error.code().name, "message": error.details()}
    except grpc.RpcError as error:
        info = error_details_pb2.ErrorInfo()
        status = rpc_status.from_call(error)
        for detail in status.details if status else []:
            detail.Unpack(info)
        info = {"reason": info.reason, "domain": info.domain}
        return {"code": error.code().name, "message": error.details(), "info": info}
    return {"code": "OK", "message": ""}


def with_the_sdk():
    with DaprClient() as client:
        metadata = {"rocketmq-tag": "blue", "rocketmq-key": "k1"}
        answer = client.invoke_binding("rmq", "create", b"\x00\xff bytes", metadata)
        say("create", data=answer.data.decode(), metadata=dict(answer.binding_metadata))
        client.invoke_binding("rmq", "create", "again")
        say("unknown", **error_of(lambda: client.invoke_binding("nope", "create", "x")))
        say("operation", **error_of(lambda: client.invoke_binding("rmq", "list", "x")))
        say("large", **error_of(lambda: client.invoke_binding("rmq", "create", b"z" * (4 << 20))))
        say("state", **error_of(lambda: client.get_state("store", "key")))
        client.set_metadata("colour", "blue")
        seen_metadata = client.get_metadata()
        components = [[c.name, c.type, c.version, list(c.capabilities)] for c in seen_metadata.registered_components]
        say("metadata", id=seen_metadata.application_id, components=components, extended=dict(seen_metadata.extended_metadata))


def with_grpc_alone():
    with grpc.insecure_channel(os.environ["DAPR_GRPC_ENDPOINT"]) as channel:
        stub = api_service_v1.DaprStub(channel)
        token = [("dapr-api-token", os.environ["DAPR_API_TOKEN"])]
        say("no_token", **error_of(lambda: stub.GetMetadata(api_v1.GetMetadataRequest())))
        say("wrong_token", **error_of(lambda: stub.GetMetadata(api_v1.GetMetadataRequest(), metadata=[("dapr-api-token", "x")])))
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=""))
        say("health", status=health_pb2.HealthCheckResponse.ServingStatus.Name(health.status))
        message = api_v1.InvokeBindingRequest(name="rmq", operation="create", data=b"squeezed " * 500)
        call = lambda kind: stub.InvokeBinding(message, metadata=token, compression=kind)
        say("gzip", **error_of(lambda: call(grpc.Compression.Gzip)))
        say("deflate", **error_of(lambda: call(grpc.Compression.Deflate)))
        questions = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="dapr.proto.runtime.v1.Dapr"),
        ]
        answers = list(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter(questions), metadata=token))
        services = [service.name for service in answers[0].list_services_response.service]
        say("reflection", services=sorted(services), files=len(answers[1].file_descriptor_response.file_descriptor_proto))


threading.Thread(target=lambda: app.run(int(os.environ["APP_PORT"])), daemon=True).start()
try:
    with_the_sdk()
    with_grpc_alone()
    say("done")
except Exception as error:
    say("failed", error=repr(error))
sys.stdin.read()
os._exit(0)

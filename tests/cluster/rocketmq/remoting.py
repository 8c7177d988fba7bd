#!/usr/bin/env python3
"""A few requests of the RocketMQ remoting protocol, for starting test servers without the two seconds of a Java tool.

remoting.py [--ca FILE] [--access-key K --secret-key S] COMMAND
  await-broker NAMESERVER BROKER           wait (120 s) until the name server lists the broker's address
  create-user BROKER USER PASSWORD         ACL 2.0: a user without rights (an existing one is left alone)
  delete-user BROKER USER                  ACL 2.0
  allow BROKER USER RESOURCE ACTIONS       ACL 2.0: e.g. Topic:orders Pub,Sub

Request codes are those of org.apache.rocketmq.remoting.protocol.RequestCode.
"""
import argparse
import base64
import hashlib
import hmac
import json
import socket
import ssl
import struct
import sys
import time

GET_BROKER_CLUSTER_INFO = 106
AUTH_CREATE_USER = 3001
AUTH_DELETE_USER = 3003
AUTH_GET_USER = 3004
AUTH_CREATE_ACL = 3006
AUTH_UPDATE_ACL = 3007
AUTH_GET_ACL = 3009
SUCCESS = 0


def sign(fields, body, secret_key):
    """The signature of both ACL versions: HMAC-SHA1 over the values, in the order of their keys, and the body."""
    content = "".join(fields[key] for key in sorted(fields)).encode() + body
    return base64.b64encode(hmac.new(secret_key.encode(), content, hashlib.sha1).digest()).decode()


def receive(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise OSError("connection closed by the server")
        data += part
    return data


def request(options, address, code, fields=None, body=b""):
    """One request over a connection of its own; returns the response's code, remark and body."""
    fields = dict(fields or {})
    if options.access_key:
        fields["AccessKey"] = options.access_key
        fields["Signature"] = sign(fields, body, options.secret_key)
    header = json.dumps({"code": code, "language": "JAVA", "version": 407, "opaque": 1, "flag": 0,
                         "serializeTypeCurrentRPC": "JSON", "extFields": fields}).encode()
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        if options.ca:
            context = ssl.create_default_context(cafile=options.ca)
            context.check_hostname = False
            connection = context.wrap_socket(connection)
        connection.sendall(struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body)
        length, header_length = struct.unpack(">II", receive(connection, 8))
        header_length &= 0xFFFFFF  # the upper byte says how the header is serialized
        payload = receive(connection, length - 4)
        connection.close()
    answer = json.loads(payload[:header_length])
    return answer["code"], answer.get("remark"), payload[header_length:]


def await_broker(options, name_server, broker):
    deadline = time.monotonic() + 120
    wanted = f'"{broker}"'.encode()
    while time.monotonic() < deadline:
        try:
            if wanted in request(options, name_server, GET_BROKER_CLUSTER_INFO)[2]:
                return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"error: broker {broker} is not registered at {name_server} after 120 s")


def expect_success(what, answer):
    code, remark, _ = answer
    if code != SUCCESS:
        sys.exit(f"error: {what} failed with code {code}: {remark}")


def create_user(options, broker, user, password):
    code, _, body = request(options, broker, AUTH_GET_USER, {"username": user})
    if code == SUCCESS and body:
        return
    info = {"username": user, "password": password, "userType": "Normal", "userStatus": "enable"}
    expect_success(f"create user {user}", request(options, broker, AUTH_CREATE_USER, {"username": user}, json.dumps(info).encode()))


def delete_user(options, broker, user):
    expect_success(f"delete user {user}", request(options, broker, AUTH_DELETE_USER, {"username": user}))


def allow(options, broker, user, resource, actions):
    subject = f"User:{user}"
    entry = {"resource": resource, "actions": actions.split(","), "sourceIps": [], "decision": "Allow"}
    acl = {"subject": subject, "policies": [{"policyType": "Custom", "entries": [entry]}]}
    code, _, body = request(options, broker, AUTH_GET_ACL, {"subject": subject})
    operation = AUTH_UPDATE_ACL if code == SUCCESS and body else AUTH_CREATE_ACL
    expect_success(f"allow {subject} {actions} on {resource}",
                   request(options, broker, operation, {"subject": subject}, json.dumps(acl).encode()))


COMMANDS = {"await-broker": await_broker, "create-user": create_user, "delete-user": delete_user, "allow": allow}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ca")
    parser.add_argument("--access-key")
    parser.add_argument("--secret-key")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    COMMANDS[options.command](options, *options.arguments)


if __name__ == "__main__":
    main()

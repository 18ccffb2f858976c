"""The applications of e2e/tests/protocols.rs: gRPC on 50051, WebSocket on 9001, plain HTTP/1.1 on 8080.

They answer; what is right is for the clients to say. gRPC messages are bytes as they are, so that nothing is generated.
"""

import asyncio
import concurrent.futures
import socket
import threading
import time

import grpc
import websockets

SEEN = {}
LOCK = threading.Lock()


def count(what):
    with LOCK:
        SEEN[what] = SEEN.get(what, 0) + 1
        return SEEN[what]


def unary(request, context):
    context.send_initial_metadata((("x-initial", "first"),))
    context.set_trailing_metadata((("x-trailer", "last"), ("x-binary-bin", b"\x00\xff")))
    return request


def gather(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def stream(request, context):
    size, times = request.split()
    piece = b"s" * int(size)
    for _ in range(int(times)):
        yield piece


def talk(requests, context):
    for request in requests:
        yield request


def fail(request, context):
    context.set_trailing_metadata((("x-why", "asked"),))
    context.abort(grpc.StatusCode[request.decode()], "as was asked: \u00e4%")


def flaky(request, context):
    key, times = request.decode().split()
    if count("flaky " + key) <= int(times):
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "not yet")
    return b"%d" % SEEN["flaky " + key]


def wait(request, context):
    key = request.decode()
    gone = threading.Event()
    context.add_callback(gone.set)
    count("begun " + key)
    gone.wait(60)
    count("gone " + key)
    return b""


def later(request, context):
    # Silence is what the caller asks for.
    time.sleep(float(request))
    return request


def compressed(request, context):
    context.set_compression(grpc.Compression.Gzip)
    return request


def seen(request, context):
    with LOCK:
        return b"%d" % SEEN.get(request.decode(), 0)


def serve_grpc():
    kinds = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Gather": grpc.stream_unary_rpc_method_handler(gather),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Flaky": grpc.unary_unary_rpc_method_handler(flaky),
        "Wait": grpc.unary_unary_rpc_method_handler(wait),
        "Later": grpc.unary_unary_rpc_method_handler(later),
        "Compressed": grpc.unary_unary_rpc_method_handler(compressed),
        "Seen": grpc.unary_unary_rpc_method_handler(seen),
    }
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Protocols", kinds),))
    server.add_insecure_port("0.0.0.0:50051")
    server.start()
    return server


async def converse(connection):
    path = connection.request.path
    if path == "/ends":
        await connection.close(4001, "enough")
        return
    if path == "/speaks":
        for n in range(3):
            await connection.send("%d" % n)
    try:
        async for message in connection:
            await connection.send(message)
    finally:
        count("closed %s" % connection.close_code)


async def serve_websocket():
    async with websockets.serve(converse, "0.0.0.0", 9001, max_size=None, ping_interval=None):
        await asyncio.get_running_loop().create_future()


def read_head(connection):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return None, {}
        head += byte
    first, *lines = head.decode("latin-1").split("\r\n")
    return first.split(" "), {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines) if k}


def drop(connection, length):
    while length:
        got = len(connection.recv(min(length, 1 << 20)))
        if not got:
            raise ConnectionError("the body broke off")
        length -= got


def drop_chunks(connection):
    total = 0
    while True:
        line = b""
        while not line.endswith(b"\r\n"):
            line += connection.recv(1)
        size = int(line, 16)
        drop(connection, size + 2)
        total += size
        if not size:
            return total


def half_close(connection):
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    total = 0
    while got := len(connection.recv(1 << 16)):
        total += got
    connection.sendall(b"%d bytes, and then the end" % total)


def answer(connection):
    with connection:
        while True:
            first, headers = read_head(connection)
            if not first:
                return
            path = first[1]
            if "upgrade" in headers:
                half_close(connection)
                return
            if headers.get("transfer-encoding") == "chunked":
                length = drop_chunks(connection)
            else:
                length = int(headers.get("content-length", 0))
                drop(connection, length)
            if path.startswith("/down/"):
                left = int(path[6:])
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % left)
                piece = bytes(1 << 20)
                while left:
                    connection.sendall(piece[:left])
                    left -= min(left, len(piece))
            else:
                body = b"%d" % (SEEN.get(path[6:].replace("%20", " "), 0) if path.startswith("/seen/") else length)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


def serve_http():
    listener = socket.create_server(("0.0.0.0", 8080), backlog=64)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


# It lives as long as somebody holds it.
GRPC = serve_grpc()
threading.Thread(target=serve_http, daemon=True).start()
print("ready", flush=True)
asyncio.run(serve_websocket())

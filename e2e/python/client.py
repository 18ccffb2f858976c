"""The clients of e2e/tests/protocols.rs. `client.py CHECK...` runs checks by name and prints `ok CHECK` for each that holds.

The first that does not ends it with what it saw.
"""

import asyncio
import socket
import sys
import threading
import time

import grpc
import websockets

SERVICE = "server.protocols.svc.cluster.local"
CODES = grpc.StatusCode


def equal(got, want):
    assert got == want, f"{got!r:.300}, not {want!r:.300}"


def channel(**more):
    options = {
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
        # The client's own retries would hide the mesh's.
        "grpc.enable_retries": 0,
        "grpc.use_local_subchannel_pool": 1,
        **{name.replace("__", "."): value for name, value in more.items()},
    }
    return grpc.insecure_channel(f"{SERVICE}:50051", options=list(options.items()))


def method(on, kind, name):
    return getattr(on, kind)(f"/test.Protocols/{name}")


def call(on, name, request, **more):
    return method(on, "unary_unary", name)(request, timeout=more.pop("timeout", 30), **more)


def failure(work):
    try:
        work()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it succeeded")


def until(what, ready):
    for _ in range(500):
        if ready():
            return
        time.sleep(0.02)
    raise AssertionError(f"never happened: {what}")


def grpc_unary():
    with channel() as on:
        answer, done = method(on, "unary_unary", "Unary").with_call(b"hello", timeout=30)
        equal(answer, b"hello")
        assert ("x-initial", "first") in done.initial_metadata(), done.initial_metadata()
        trailing = dict(done.trailing_metadata())
        equal((trailing["x-trailer"], trailing["x-binary-bin"]), ("last", b"\x00\xff"))


def grpc_client_streaming():
    with channel() as on:
        equal(method(on, "stream_unary", "Gather")((b"x" * n for n in range(100)), timeout=30), b"4950")


def grpc_server_streaming():
    with channel() as on:
        answers = list(method(on, "unary_stream", "Stream")(b"1000 500", timeout=60))
        equal((len(answers), {len(a) for a in answers}), (500, {1000}))


def grpc_bidirectional_streaming():
    with channel() as on:
        asked, may_ask = [], threading.Semaphore(1)

        def requests():
            for n in range(50):
                may_ask.acquire()
                asked.append(b"%d" % n)
                yield asked[-1]

        answers = []
        # Each question is asked only once the one before it is answered.
        for answer in method(on, "stream_stream", "Talk")(requests(), timeout=60):
            answers.append(answer)
            equal(answers, asked)
            may_ask.release()
        equal(len(answers), 50)


def grpc_status_codes():
    with channel() as on:
        for name in ["INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "ABORTED", "INTERNAL", "DATA_LOSS", "UNAUTHENTICATED"]:
            error = failure(lambda: call(on, "Fail", name.encode()))
            equal((error.code(), error.details()), (CODES[name], "as was asked: \u00e4%"))
            equal(dict(error.trailing_metadata())["x-why"], "asked")
        equal(failure(lambda: call(on, "NoSuchMethod", b"")).code(), CODES.UNIMPLEMENTED)


def grpc_deadline():
    with channel() as on:
        error = failure(lambda: call(on, "Wait", b"deadline", timeout=0.5))
        equal(error.code(), CODES.DEADLINE_EXCEEDED)
        until("the server hears of it", lambda: call(on, "Seen", b"gone deadline") == b"1")


def grpc_cancellation():
    with channel() as on:
        waiting = method(on, "unary_unary", "Wait").future(b"cancelled")
        until("the call has begun", lambda: call(on, "Seen", b"begun cancelled") == b"1")
        waiting.cancel()
        until("the server hears of it", lambda: call(on, "Seen", b"gone cancelled") == b"1")


def grpc_large_messages():
    with channel() as on:
        large = bytes(range(256)) * (1 << 16)
        assert call(on, "Unary", large, timeout=120) == large, "16 MiB came back otherwise"


def grpc_compression():
    with channel() as on:
        text = b"a text that is easy to compress " * 10_000
        answer = method(on, "unary_unary", "Compressed")(text, timeout=30, compression=grpc.Compression.Gzip)
        equal(answer, text)


def grpc_keepalive():
    # Pings far more often than the silence lasts; one that is not answered within half a second fails the call.
    settings = {
        "grpc__keepalive_time_ms": 200,
        "grpc__keepalive_timeout_ms": 5000,
        "grpc__keepalive_permit_without_calls": 1,
        "grpc__http2__max_pings_without_data": 0,
    }
    with channel(**settings) as on:
        equal(call(on, "Later", b"2.5"), b"2.5")
        equal(call(on, "Unary", b"after"), b"after")


def grpc_retries():
    with channel() as on:
        # The VirtualService's: three of them. Four failures are one too many.
        equal(call(on, "Flaky", b"three 3"), b"4")
        equal(failure(lambda: call(on, "Flaky", b"four 4")).code(), CODES.RESOURCE_EXHAUSTED)
        equal(call(on, "Seen", b"flaky four"), b"4")


def websocket(path, **more):
    return websockets.connect(f"ws://{SERVICE}:9001{path}", max_size=None, ping_interval=None, **more)


async def websocket_both_ways():
    async with websocket("/speaks") as on:
        equal([await on.recv() for _ in range(3)], ["0", "1", "2"])
        for message in ["text \u00e4", b"\x00binary", ""]:
            await on.send(message)
            equal(await on.recv(), message)


async def websocket_ping():
    async with websocket("/echo") as on:
        await asyncio.wait_for(await on.ping(b"are you there"), 30)


async def websocket_close_codes():
    async with websocket("/ends") as on:
        await asyncio.wait_for(on.wait_closed(), 30)
        equal((on.close_code, on.close_reason), (4001, "enough"))
    on = await websocket("/echo")
    await on.close(4002, "of mine")
    equal(on.close_code, 4002)
    await asyncio.to_thread(until, "the server heard the code", lambda: seen("closed 4002") == 1)


async def websocket_large_frames():
    async with websocket("/echo", compression=None) as on:
        large = bytes(range(256)) * (1 << 15)
        sending = asyncio.create_task(on.send(large))
        assert await asyncio.wait_for(on.recv(), 120) == large, "8 MiB came back otherwise"
        await sending


async def websocket_outlasts_the_route_timeout():
    # The route's limit is one second: a request is cut off there, and an accepted upgrade is not.
    async with websocket("/echo") as on:
        await on.send("before")
        equal(await on.recv(), "before")
        await asyncio.sleep(2.5)
        await on.send("after")
        equal(await on.recv(), "after")


def websocket_half_close():
    with socket.create_connection((SERVICE, 8080)) as on:
        on.settimeout(60)
        on.sendall(f"GET / HTTP/1.1\r\nHost: {SERVICE}:8080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = on.recv(1)
            assert byte, head
            head += byte
        assert head.startswith(b"HTTP/1.1 101 "), head
        on.sendall(bytes(1 << 20))
        on.shutdown(socket.SHUT_WR)
        rest = b""
        while more := on.recv(1 << 16):
            rest += more
        equal(rest, b"1048576 bytes, and then the end")


def connect():
    on = socket.create_connection((SERVICE, 8080))
    on.settimeout(120)
    return on


def head_of(on):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = on.recv(1)
        assert byte, head
        head += byte
    assert head.startswith(b"HTTP/1.1 200 "), head
    return head


def seen(what):
    with connect() as on:
        on.sendall(f"GET /seen/{what.replace(' ', '%20')} HTTP/1.1\r\nHost: {SERVICE}:8080\r\n\r\n".encode())
        head_of(on)
        return int(on.recv(100))


def http1_down(size, pause):
    with connect() as on:
        on.sendall(f"GET /down/{size} HTTP/1.1\r\nHost: {SERVICE}:8080\r\n\r\n".encode())
        head_of(on)
        came = 0
        room = bytearray(1 << 20)
        while came < size:
            got = on.recv_into(room)
            assert got, f"the body ended after {came} bytes"
            came += got
            time.sleep(pause)
        equal(came, size)


def http1_up(size, pause):
    with connect() as on:
        on.sendall(f"POST /up HTTP/1.1\r\nHost: {SERVICE}:8080\r\ncontent-length: {size}\r\n\r\n".encode())
        piece, left = bytes(1 << 20), size
        while left:
            on.sendall(piece[:left])
            left -= min(left, len(piece))
            time.sleep(pause)
        head_of(on)
        equal(int(on.recv(100)), size)


def http2_down(size, pause):
    with channel() as on:
        came = 0
        for answer in method(on, "unary_stream", "Stream")(b"%d %d" % (1 << 20, size >> 20), timeout=600):
            came += len(answer)
            time.sleep(pause)
        equal(came, size)


def http2_up(size, pause):
    piece = bytes(1 << 20)

    def pieces():
        for _ in range(size >> 20):
            yield piece
            time.sleep(pause)

    with channel() as on:
        equal(method(on, "stream_unary", "Gather")(pieces(), timeout=600), b"%d" % size)


MANY, SOME = 1 << 30, 64 << 20
TRANSFERS = {}
for move in [http1_down, http1_up, http2_down, http2_up]:
    TRANSFERS[move.__name__] = (move, MANY, 0)
    TRANSFERS[f"{move.__name__}_slowly"] = (move, SOME, 0.05)
# The pieces that a reader of HTTP/1 takes are as large as the kernel has them, and so smaller.
TRANSFERS["http1_down_slowly"] = (http1_down, SOME, 0.01)

for name in sys.argv[1:]:
    if name in TRANSFERS:
        move, size, pause = TRANSFERS[name]
        move(size, pause)
    else:
        check = globals()[name]
        asyncio.run(check()) if asyncio.iscoroutinefunction(check) else check()
    print("ok", name, flush=True)

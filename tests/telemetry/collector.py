"""A collector of traces and logs, as OTLP over HTTP speaks to one."""

import asyncio
from asyncio import StreamReader, StreamWriter
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """Takes what it is sent and keeps it, as spans and as the bytes that they came in."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.logs: list[LogRecord] = []
        self.resource: dict[str, str] = {}
        self.received = b""
        self.hangs = False
        self.url = ""
        self._writers: set[StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                assert head.startswith((b"post /v1/traces ", b"post /v1/logs ")), head
                length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                if self.hangs:
                    await asyncio.sleep(60)
                self.received += head + body
                if head.startswith(b"post /v1/logs "):
                    sent = ExportLogsServiceRequest.FromString(body)
                    scopes = [scope for part in sent.resource_logs for scope in part.scope_logs]
                    self.logs += [line for scope in scopes for line in scope.log_records]
                    body = b""
                for part in ExportTraceServiceRequest.FromString(body).resource_spans:
                    self.resource |= {
                        entry.key: entry.value.string_value for entry in part.resource.attributes
                    }
                    self.spans += [span for scope in part.scope_spans for span in scope.spans]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except asyncio.IncompleteReadError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


def attributes(span: Span | LogRecord) -> dict[str, object]:
    """A span's, by their names."""
    return {entry.key: entry.value.string_value or entry.value.int_value for entry in span.attributes}

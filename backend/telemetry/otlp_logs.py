"""The log, exported by OTLP over HTTP as the OTEL_ variables say; what leaves is chosen one by one."""

import logging

from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from backend.observation import observing

# Fields of lines in which nothing is that a client made up, nor who it is, nor what a driver quotes.
SENT = ("method", "status", "ms", "tool")
_SEVERITIES = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}


class OtlpHandler(logging.Handler):
    """Hands the service's own lines to a collector, each with the trace that it is a part of.

    Sent are the level, the logger, the message without what is put into it, SENT, and the type of an
    exception. Lines of libraries are not: nobody has chosen what is in them.
    """

    def __init__(self, resource: Resource) -> None:
        super().__init__()
        self.provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line; it is sent behind the requests."""
        if record.name.partition(".")[0] != "backend":
            return
        fields = getattr(record, "fields", {})
        attributes = {name: fields[name] for name in SENT if name in fields}
        if record.exc_info is not None and record.exc_info[0] is not None:
            attributes["exception.type"] = record.exc_info[0].__name__
        observation = observing.get()
        self.provider.get_logger(record.name).emit(
            timestamp=int(record.created * 1e9),
            context=None if observation is None else observation.context,
            severity_number=_SEVERITIES.get(record.levelno, SeverityNumber.UNSPECIFIED),
            severity_text=record.levelname,
            body=str(record.msg),
            attributes=attributes,
        )

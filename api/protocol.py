"""HTTP as the shim speaks it: uvicorn's fast parser, which by itself would take a request head of any size."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 32 * 1024
# Sizes of chunks, and headers after the last one: what a body costs beside itself.
LARGEST_FRAMING = 1024 * 1024
_REFUSAL = b"Request header fields too large"


class BoundedHeads(HttpToolsProtocol):
    """Closes a connection whose request line and headers are larger than 32 KiB, with 431.

    The parser keeps headers that come after a chunked body as well: they are bounded with the framing of the body.
    """

    _in_head = False
    _head_bytes = 0
    _framing_bytes = 0
    _refused = False

    def data_received(self, data: bytes) -> None:
        """Takes what has arrived, and looks at a head that is still not complete."""
        if self._refused:
            return
        if self._in_head:
            self._head_bytes += len(data)
        self._framing_bytes += len(data)
        super().data_received(data)
        if not self._refused and (
            (self._in_head and self._head_bytes > LARGEST_HEAD) or self._framing_bytes > LARGEST_FRAMING
        ):
            self._refuse()

    def on_message_begin(self) -> None:
        """A head begins: what is counted until its end is its own."""
        super().on_message_begin()
        self._in_head, self._head_bytes, self._framing_bytes = True, 0, 0

    def on_headers_complete(self) -> None:
        """The head is complete: it may have come in one piece."""
        self._in_head = False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > LARGEST_HEAD:
            self._refuse()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """The body of a request that was not refused."""
        self._framing_bytes -= len(body)
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request that was not refused."""
        if not self._refused:
            super().on_message_complete()

    def _refuse(self) -> None:
        self._refused = True
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_REFUSAL), _REFUSAL)
        )
        self.transport.close()

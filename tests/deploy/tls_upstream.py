"""An upstream with TLS that streams one answer to each call: `tls_upstream.py CERTIFICATE KEY PORT`."""

import http.server
import json
import ssl
import sys

certificate, key, port = sys.argv[1:]
CHUNK = {
    "id": "1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "any",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello by TLS"}, "finish_reason": "stop"}],
}


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers every call alike."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n".encode())


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Upstream)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()

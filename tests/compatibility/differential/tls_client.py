"""Connects over TLS, says what came of it in one line. See tls.rs."""

import socket
import ssl
import sys

address, lowest, highest, alpn, certificate, ciphers = sys.argv[1:]

context = ssl.create_default_context(cafile=f"{sys.path[0]}/tls/ca.pem")
# The versions that this Python thinks too old are for the server to refuse.
context.set_ciphers("ALL:@SECLEVEL=0" if ciphers == "-" else f"{ciphers}:@SECLEVEL=0")
context.minimum_version = ssl.TLSVersion[lowest]
context.maximum_version = ssl.TLSVersion[highest]
if alpn != "-":
    context.set_alpn_protocols(alpn.split(","))
if certificate != "-":
    context.load_cert_chain(f"{sys.path[0]}/tls/{certificate}.pem")

host, port = address.split(":")
try:
    with socket.create_connection((host, int(port)), timeout=30) as plain:
        with context.wrap_socket(plain, server_hostname=host) as stream:
            said = [stream.version(), str(stream.selected_alpn_protocol())]
            if ciphers != "-":
                said.append(stream.cipher()[0])
            # A client whose certificate is refused may learn it only when it reads.
            if stream.selected_alpn_protocol() == "h2":
                stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
                # The type of the first frame: settings.
                said.append(f"frame {stream.recv(9)[3]}")
            else:
                stream.sendall(b"GET /-/ready HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                said.append(stream.recv(12).decode())
            print(" ".join(said))
except (ssl.SSLError, ConnectionError, IndexError):
    print("refused")

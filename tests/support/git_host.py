"""A git host by https: `git http-backend` behind a password, and Git LFS's batch interface.

git_host.py FOLDER CERTIFICATE LOG [REDIRECT]

FOLDER holds the bare repositories. LOG gets a line for each request: method, path, and the user that its Authorization
names, or `-`; the password is checked against the file FOLDER/password (`user:password`; without one everybody may
read and write). With REDIRECT, every request is sent on to that address. Prints the port.
"""

import base64
import http.server
import json
import os
import ssl
import subprocess
import sys

folder, certificate, log_path = sys.argv[1:4]
redirect = sys.argv[4] if len(sys.argv) > 4 else None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status, data=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def serve(self):
        body = self.body()
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        given = base64.b64decode(value).decode() if scheme == "Basic" else ""
        with open(log_path, "a") as log:
            log.write(f"{self.command} {self.path} {given.partition(':')[0] or '-'}\n")
        if redirect:
            return self.answer(302, Location=redirect + self.path)
        try:
            with open(os.path.join(folder, "password")) as file:
                wanted = file.read().strip()
        except FileNotFoundError:
            wanted = given
        if given != wanted:
            # What a careless host says: the header that it was sent.
            said = ("no: " + self.headers.get("Authorization", "")).encode()
            return self.answer(401, said, WWW_Authenticate='Basic realm="git"', Content_Type="text/plain")
        path, _, query = self.path.partition("?")
        if path.endswith("/info/lfs/objects/batch"):
            return self.batch(json.loads(body))
        if "/lfs-object/" in path:
            return self.lfs_object(os.path.join(folder, "lfs", os.path.basename(path)), body)
        self.git(path, query, body, given.partition(":")[0])

    do_GET = do_POST = do_PUT = serve

    def batch(self, request):
        """https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md"""
        os.makedirs(os.path.join(folder, "lfs"), exist_ok=True)
        objects = []
        for wanted in request["objects"]:
            stored = os.path.exists(os.path.join(folder, "lfs", wanted["oid"]))
            href = f"https://{self.headers['Host']}/lfs-object/{wanted['oid']}"
            answer = {"oid": wanted["oid"], "size": wanted["size"]}
            if request["operation"] == "download" and not stored:
                answer["error"] = {"code": 404, "message": "not here"}
            elif request["operation"] == "download" or not stored:
                answer["actions"] = {request["operation"]: {"href": href}}
            objects.append(answer)
        text = json.dumps({"transfer": "basic", "objects": objects}).encode()
        self.answer(200, text, Content_Type="application/vnd.git-lfs+json")

    def lfs_object(self, path, body):
        if self.command == "PUT":
            with open(path, "wb") as file:
                file.write(body)
            return self.answer(200)
        with open(path, "rb") as file:
            self.answer(200, file.read(), Content_Type="application/octet-stream")

    def git(self, path, query, body, user):
        environment = dict(
            os.environ,
            GIT_PROJECT_ROOT=folder,
            GIT_HTTP_EXPORT_ALL="1",
            GIT_HTTP_MAX_REQUEST_BUFFER="100M",
            REQUEST_METHOD=self.command,
            PATH_INFO=path,
            QUERY_STRING=query,
            CONTENT_TYPE=self.headers.get("Content-Type", ""),
            CONTENT_LENGTH=str(len(body)),
            HTTP_CONTENT_ENCODING=self.headers.get("Content-Encoding", ""),
            GIT_PROTOCOL=self.headers.get("Git-Protocol", ""),
            REMOTE_USER=user,
            REMOTE_ADDR="127.0.0.1",
        )
        said = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True).stdout
        head, _, data = said.partition(b"\r\n\r\n")
        status, headers = 200, {}
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            if name == "Status":
                status = int(value.split()[0])
            elif name:
                headers[name] = value
        self.answer(status, data, **headers)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()

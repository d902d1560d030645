"""moto's server, with the one thing that it lacks for us: `Content.Location` of a layer version is a URL that its zip
can be had from, as AWS's is, instead of `s3://`. Usage: python moto_server.py PORT"""

import sys

import moto.server
from moto.awslambda.models import LayerVersion

port = sys.argv[1]
zips = {}
inner_run, inner_get = moto.server.run_simple, LayerVersion.get_layer_version


def get_layer_version(self):
    version = inner_get(self)
    zips[self.code_digest] = self.code_bytes
    version["Content"]["Location"] = f"http://127.0.0.1:{port}/layer-zips/{self.code_digest}"
    return version


def run_simple(host, port, app, **options):
    def wrapped(environ, start_response):
        head, _, digest = environ["PATH_INFO"].rpartition("/")
        if head == "/layer-zips" and digest in zips:
            start_response("200 OK", [("Content-Type", "application/zip")])
            return [zips[digest]]
        return app(environ, start_response)

    inner_run(host, port, wrapped, **options)


LayerVersion.get_layer_version = get_layer_version
moto.server.run_simple = run_simple
moto.server.main(["-H", "127.0.0.1", "-p", port])

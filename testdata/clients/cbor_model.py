"""cbor_model.py SERVICE DIR: puts botocore's model of a service into DIR, for
AWS_DATA_PATH, so that clients speak Smithy RPC v2 CBOR to it and nothing else."""
import json
import pathlib
import sys

import botocore.loaders
from botocore.serialize import SERIALIZERS

CBOR = "smithy-rpc-v2-cbor"
service, to = sys.argv[1:]
loader = botocore.loaders.Loader()
version = loader.determine_latest_version(service, "service-2")
model = loader.load_service_model(service, "service-2", version)
if CBOR not in SERIALIZERS or CBOR not in model["metadata"].get("protocols", []):
    sys.exit(f"{service} of this botocore doesn't speak {CBOR}")
model["metadata"].update(protocol=CBOR, protocols=[CBOR])
where = pathlib.Path(to, service, version)
where.mkdir(parents=True)
(where / "service-2.json").write_text(json.dumps(model), encoding="utf-8")

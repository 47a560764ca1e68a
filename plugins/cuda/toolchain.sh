#!/bin/sh
# Fetches the CUDA compiler and its static runtime, about 105 MB, as Python packages into
# the folder given, where CMake finds them. Needs Python 3 with pip; no GPU and no root.
set -eu

folder=${1:?usage: toolchain.sh FOLDER}
if [ -x "$folder/nvidia/cu13/bin/nvcc" ]; then
  echo "already there: $folder/nvidia/cu13/bin/nvcc"
  exit 0
fi
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT

python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work/wheels" \
  nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 \
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
for wheel in "$work"/wheels/*.whl; do
  python3 -m zipfile -e "$wheel" "$work/tree"
done
chmod +x "$work"/tree/nvidia/cu13/bin/* "$work"/tree/nvidia/cu13/nvvm/bin/*
rm -rf "$folder"
mv "$work/tree" "$folder"
"$folder/nvidia/cu13/bin/nvcc" --version | tail -n 2

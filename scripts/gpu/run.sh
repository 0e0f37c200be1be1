#!/usr/bin/env bash
# Run a job of the queue on this machine, without a network:  run.sh --job NAME --minutes N --out DIR [--cpu]
# The same command goes on with what an earlier call left.  run.sh --help says the rest, README.md how to carry it all.
kit=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$kit${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" -m gpu.run "$@"

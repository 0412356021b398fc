"""Everything that only a GPU can tell about the GPU's engine, in one command, for a machine with one GPU.

    python -m loadtests.gpu_report --out FOLDER

Each section is measured by itself; one that fails leaves its reason and the others go on. Writes gpu_report.json and
gpu_report.md, and ends with the JSON as its last line; the exit status is 1 if a section failed. `--dry` runs the same
code on a CPU with a tiny shape, for tests: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from loadtests import gpu_bench, gpu_checks, gpu_products
from loadtests.gpu_bench import Scale
from loadtests.measuring.hardware import commit, describe, read_bandwidth

Section = Callable[[Scale], object]
SECTIONS: dict[str, Section] = {
    "kernels": gpu_checks.kernel_tests,
    "parity": gpu_checks.parity,
    "exactness": gpu_checks.exactness,
    "bench": gpu_bench.bench,
    "peer": gpu_bench.peer,
    "profile": gpu_bench.profile,
    "products": gpu_products.products,
}


def scale_of(dry: bool) -> Scale:
    """What is measured: all of it, or as little as runs the code."""
    if dry:
        return Scale("cpu", ("tiny",), "tiny", (1, 2), ("float32",), 3, 4, 3, 3, 1e9)
    if not torch.cuda.is_available():
        raise SystemExit("this machine has no GPU that torch sees; --dry runs the code on a CPU")
    bandwidth = read_bandwidth("cuda")
    return Scale(
        "cuda", ("large", "medium", "small"), "large", (1, 8, 32), ("bfloat16", "int8"), 500, 1500, 200, 150, bandwidth
    )


def report(names: list[str], scale: Scale, folder: Path) -> dict[str, object]:
    """The sections in their order, and the reason of those that failed; written after each."""
    head = {"device": describe(scale.device), "commit": commit(), "read_gb_per_s": round(scale.bandwidth / 1e9, 1)}
    print(json.dumps(head), file=sys.stderr, flush=True)
    results: dict[str, object] = {**head, "failed": {}}
    failed: dict[str, str] = {}
    for name in names:
        started_s = time.perf_counter()
        try:
            results[name] = SECTIONS[name](scale)
        except Exception as error:  # noqa: BLE001 - goes to the report, and to the exit status
            failed[name] = f"{error!r}\n{traceback.format_exc()}"
            print(failed[name], file=sys.stderr)
        print(f"{name}: {time.perf_counter() - started_s:.1f} s", file=sys.stderr, flush=True)
        if scale.device == "cuda":
            torch.cuda.empty_cache()
        results["failed"] = failed
        (folder / "gpu_report.json").write_text(json.dumps(results, indent=1))
        (folder / "gpu_report.md").write_text(markdown(results))
    return results


def markdown(results: dict[str, object]) -> str:
    """The same as text: tables where a section is a list of rows."""
    parts = [
        f"# The GPU's engine\n\n{results['device']}, commit {results['commit']}, {results['read_gb_per_s']} GB/s read"
    ]
    for name, found in results.items():
        if isinstance(found, list) and found:
            keys = list(found[0])
            rows = [" | ".join(str(row[key]) for key in keys) for row in found]
            table = "\n".join(f"| {line} |" for line in (" | ".join(keys), " | ".join("---" for _ in keys), *rows))
            parts.append(f"## {name}\n\n{table}")
        elif isinstance(found, dict) and found:
            parts.append(f"## {name}\n\n" + "\n".join(f"- {key}: {value}" for key, value in found.items()))
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.gpu_report", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu_report.json and gpu_report.md")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--dry", action="store_true", help="on a CPU, as little as runs the code")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    results = report(options.sections, scale_of(options.dry), options.out)
    print(json.dumps(results))
    raise SystemExit(1 if results["failed"] else 0)


if __name__ == "__main__":
    main(sys.argv[1:])

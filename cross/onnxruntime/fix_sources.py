#!/usr/bin/env python3
"""Changes ONNX Runtime's sources where they do not fit a static program for every 64-bit ARM.

    fix_sources.py DIRECTORY

Each change must find exactly what it was written for: a newer version wants a new look.
"""

import pathlib
import re
import sys


def change(path, *rules):
    """Each rule is (pattern, replacement, how often it must match)."""
    text = path.read_text()
    for pattern, replacement, wanted in rules:
        text, found = re.subn(pattern, replacement, text, flags=re.M | re.S)
        if found != wanted:
            sys.exit(f"fix_sources: {path} has {found} places like {pattern!r}, not {wanted}")
    path.write_text(text)


root = pathlib.Path(sys.argv[1])

# Half precision vectors are constants of the whole file: they are filled when the program starts, with
# instructions that a Cortex-A53 or A72 does not have. Only the kernels that need them, and are called
# where the processor has those instructions, may make them.
vector = r"(float16x[48]_t)"
change(
    root / "onnxruntime/core/mlas/lib/softmax_kernel_neon_fp16.cpp",
    (
        rf"^const (Mlas\w+Constants<{vector}>) (\w+) = (\{{[^}}]*\}});",
        r"static inline \1 Make\3() {\n    return \4;\n}",
        4,
    ),
    (r"return ((?:Exp|Tanh)ConstantsFp16x[48]);", r"return Make\1();", 4),
)

# Static glibc's libm has a small table of addresses, which code for shared libraries overflows. The
# compiler's own default is right for a program.
change(
    root / "cmake/CMakeLists.txt",
    (r"^set\(CMAKE_POSITION_INDEPENDENT_CODE ON\)$", "set(CMAKE_POSITION_INDEPENDENT_CODE OFF)", 1),
)

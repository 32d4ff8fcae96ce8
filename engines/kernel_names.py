"""What a CUDA kernel does, told from its name."""

import ctypes
import re

_PRODUCT = r"^(?=.*(gemm|gemv|conv(?!ert)|fprop|cutlass|mha|split_?k)).*"
_KINDS = (  # of a readable name; the first that fits
    ("memory", r"^mem(cpy|set)$"),
    # A reformat between INT8 and floating point scales: it is a QuantizeLinear or DequantizeLinear of its own.
    ("quantize", r"^(void )?(genericReformat|cuInt8)::(?=[^(]*\bsigned char\b)(?=[^(]*\b(float|__half)\b)"),
    ("reformat", r"genericReformat|copyVectorized|copyPacked|cuInt8::|nchwTo|nhwcTo|reformat"),
    # Myelin's names list their operations. One that quantises and else only scales, clips and moves is a loss; a longer one would be
    # there without it.
    (
        "quantize",
        r"^(?-i:__myl_(bb\d+_\d+_)?(?=\w*(Qua|Deq|Rou))((Qua|Deq|Rou|Cas|Mul|Div|Max|Min|Cla|Cli|Mov|Res|Tra)[a-z]?)+(_|$))",
    ),
    ("fused", r"^__myl_"),
    ("quantize", r"quantize"),
    ("int8 product", rf"{_PRODUCT}(_i8|int8|imma|igemm|_s8|i8816|i16832)"),
    ("fp16 product", rf"{_PRODUCT}((?<!b)f16|fp16|half|hmma|_h884|_h1688|_h16816)"),
    ("fp32 product", rf"{_PRODUCT}(f32|fp32|float|sgemm|ffma)"),
    ("elementwise", r"eltwise|elementwise|pointwise"),
)
REGRET = ("quantize", "reformat")
"""Kinds that compute nothing: what a precision costs between its products."""

_ARGUMENTS = re.compile(r"\((?:[^()]|\([^()]*\))*\)$")  # one pair of parentheses deep: pointers to functions


def kind_of(name: str) -> str:
    """`int8 product`, `fp16 product`, `fp32 product`, `fused`, `quantize`, `reformat`, `elementwise`, `memory` or `other`."""
    return next((kind for kind, pattern in _KINDS if re.search(pattern, name, re.IGNORECASE)), "other")


def readable(name: str) -> str:
    """A C++ kernel's name as it is written in the source, without its parameters; what is not mangled, or cannot be read, as it is."""
    if not name.startswith("_Z"):
        return name
    try:
        demangle = getattr(ctypes.CDLL("libstdc++.so.6"), "__cxa_demangle")  # TensorRT has it loaded
    except OSError:
        return name
    demangle.restype = ctypes.c_void_p
    text = demangle(name.encode(), None, None, None)
    if not text:
        return name
    try:
        return _ARGUMENTS.sub("", ctypes.string_at(text).decode())
    finally:
        ctypes.CDLL(None).free(ctypes.c_void_p(text))

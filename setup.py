"""Builds the kernel library: one C++ source, once for each instruction set that this compiler knows."""

import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = Path("sim/kernels/native")
#: Exact arithmetic relies on each operation rounding as it is written: nothing contracted or reassociated.
FLAGS = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fopenmp",
    "-fvisibility=default",
]
AVX2 = ["-mavx2", "-mfma", "-mbmi2"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"]
X86 = {"avx2": AVX2, "avx512": AVX512, "avx512fp16": [*AVX512, "-mavx512fp16"]}
BUILDS = {"generic": ["-DFMAQ_FIRST"], **(X86 if platform.machine().lower() in ("x86_64", "amd64") else {})}


class BuildKernels(build_ext):
    """Compiles the source with the flags of each instruction set, and links what comes out."""

    def build_extension(self, extension):
        objects = []
        for isa, flags in BUILDS.items():
            objects += self.compiler.compile(
                extension.sources,
                output_dir=str(Path(self.build_temp) / isa),
                macros=[("FMAQ_ISA", isa)],
                extra_postargs=FLAGS + flags,
                depends=extension.depends,
            )
        target = self.get_ext_fullpath(extension.name)
        self.compiler.link_shared_object(
            objects, target, extra_postargs=["-fopenmp"], target_lang="c++", build_temp=self.build_temp
        )


setup(
    ext_modules=[
        Extension(
            "sim.kernels._native",
            sources=[str(FOLDER / "cpu.cpp")],
            depends=[str(path) for path in sorted(FOLDER.glob("*.h"))],
        )
    ],
    cmdclass={"build_ext": BuildKernels},
)

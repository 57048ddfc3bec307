// Matrix products and convolutions on the processor. Compiled once for each instruction set (FMAQ_ISA =
// avx512fp16, avx512, avx2, generic), and called by the widest that the machine has. Plain C interface.
#include <cstdint>
#include <cstring>

#include "backward_images.h"
#include "job.h"
#include "mark_scalar.h"
#include "operands.h"
#include "scalar.h"

#if defined(__AVX2__)
#define FMAQ_VECTORS 1
#include "lanes.h"
#include "mark_lanes.h"
#include "short.h"
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace fmaq {
namespace {

int run(const fmaq_job& job) {
    Mode mode(Mode::DEFAULT);
    if (job.planes) {
        Buffer<float> singles;
        Buffer<double> doubles;
        if (!(job.x_double ? pad(job, doubles) : pad(job, singles))) return 2;
        fmaq_job padded = job;
        padded.planes = 0;
        padded.x = job.x_double ? static_cast<void*>(doubles.data) : static_cast<void*>(singles.data);
        return run(padded);
    }
#if FMAQ_VECTORS
    switch (job.path) {
        case 1: return run_lanes<Single>(job);
        case 2: return run_lanes<Double>(job);
        case 3: return run_short(job);
#if defined(__AVX512FP16__)
        case 4: return run_lanes<Half>(job);
#endif
    }
#endif
    return job.path == 0 ? run_scalar(job) : 3;
}

template <class M>
int backward_by(const fmaq_job& job, const fmaq_gradient& g) {
    return job.planes ? images_backward<M>(job, g) : matrices_backward<M>(job, g);
}

int backward(const fmaq_job& job, const fmaq_gradient& g) {
    Mode mode(Mode::DEFAULT);
#if FMAQ_VECTORS
    switch (job.path) {
        case 1: return backward_by<LaneMarks<Single>>(job, g);
        case 2: return backward_by<LaneMarks<Double>>(job, g);
    }
#endif
    return job.path == 0 ? backward_by<ScalarMarks>(job, g) : 3;
}

}  // namespace
}  // namespace fmaq

#ifdef FMAQ_FIRST
// Sets the floating-point mode of this thread, or the default one, and returns what it was.
extern "C" uint64_t fmaq_set_mode(uint64_t wanted, int to_default) {
    if (to_default) wanted = fmaq::Mode::DEFAULT;
#if defined(__x86_64__)
    const uint64_t old = _mm_getcsr();
    _mm_setcsr(static_cast<unsigned>(wanted));
    return old;
#elif defined(__aarch64__)
    uint64_t old;
    asm volatile("mrs %0, fpcr" : "=r"(old));
    asm volatile("msr fpcr, %0" : : "r"(wanted));
    return old;
#else
    return wanted;
#endif
}

// Bytes of the structures that sim/kernels/library.py mirrors.
extern "C" int64_t fmaq_bytes(const char* name) {
    if (!std::strcmp(name, "job")) return sizeof(fmaq_job);
    if (!std::strcmp(name, "gradient")) return sizeof(fmaq_gradient);
    if (!std::strcmp(name, "operand")) return sizeof(fmaq_operand);
    return !std::strcmp(name, "extent") ? static_cast<int64_t>(sizeof(fmaq_extent)) : -1;
}

// Whether this machine runs what was compiled as fmaq_run_NAME.
extern "C" int fmaq_supports(const char* isa) {
    if (!std::strcmp(isa, "generic")) return 1;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!std::strcmp(isa, "avx2")) return avx2;
    if (!std::strcmp(isa, "avx512")) return avx512;
    if (!std::strcmp(isa, "avx512fp16")) {
        unsigned a, b, c, d;  // by CPUID: older compilers do not know the name
        if (!avx512 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
        return d >> 23 & 1;
    }
#endif
    return 0;
}
#endif

// Exported as fmaq_run_avx512 and so on; the caller picks one.
#define FMAQ_PASTE(name, isa) name##isa
#define FMAQ_NAME(name, isa) FMAQ_PASTE(name, isa)

extern "C" {

// 0: done; 1: a result has more than 53 significant bits; 2: out of memory; 3: not built for this machine.
int FMAQ_NAME(fmaq_run_, FMAQ_ISA)(const fmaq_job* job) { return fmaq::run(*job); }

// Gradients of the operands of such a job, or masks: see marks.h. The same codes; 1 where a difference is too long.
int FMAQ_NAME(fmaq_backward_, FMAQ_ISA)(const fmaq_job* job, const fmaq_gradient* gradient) {
    return fmaq::backward(*job, *gradient);
}

int FMAQ_NAME(fmaq_inspect_, FMAQ_ISA)(const fmaq_operand* operand, fmaq_extent* extent) {
    fmaq::Mode mode(fmaq::Mode::DEFAULT);
    return fmaq::inspect(*operand, extent);
}

int FMAQ_NAME(fmaq_quantize_, FMAQ_ISA)(const fmaq_operand* operand, void* out) {
    fmaq::Mode mode(fmaq::Mode::DEFAULT);
    return fmaq::quantize_operand(*operand, out);
}
}

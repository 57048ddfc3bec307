// Operands on a graphics card: rounding to a format, whether a format holds them, and their range. Plain C interface.
#include "cuda_steps.h"

extern "C" {

// n numbers next to each other, and a format. Mirrored field by field by cuda_library.py.
struct fmaq_cuda_numbers {
    const void* data;
    void* out;              // quantized
    const double* scales;   // number j is divided by scales[j / run % channels]; null: by scale
    uint64_t* found;        // [3]: 1 if some number is not held, or not finite; bits of the largest and smallest nonzero magnitude
    int64_t n, run, channels;
    int32_t is_double, out_double;  // element types
    int32_t kind;           // 1: float, 2: fixed point
    int32_t man_bits, subnormals;
    double largest, smallest;  // magnitudes of a float format, smallest not subnormal
    double low, high, unit;    // ends of a fixed format, in units; the unit, also of subnormals
    double scale;
};
}

namespace fmaq {
namespace {

constexpr int NUMBER_THREADS = 256;
constexpr double PUSH = 6755399441055744.0;  // 1.5 * 2**52: added and taken away, it rounds to an integer

FMAQ_FN double number_at(const fmaq_cuda_numbers& o, int64_t j) {
    return o.is_double ? static_cast<const double*>(o.data)[j] : static_cast<const float*>(o.data)[j];
}
FMAQ_FN uint64_t bits_of_double(double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

FMAQ_FN double nearest(const fmaq_cuda_numbers& o, double v) {
    if (o.kind != 1) {
        double units = v * (1 / o.unit);
        units = units > o.high ? o.high : units < o.low ? o.low : units;
        return ((units + PUSH) - PUSH) * o.unit;
    }
    const int dropped = 52 - o.man_bits;
    // Without a mantissa the last bit that is kept is the hidden one, which is odd: a tie goes up.
    const uint64_t odd = o.man_bits ? 1 : 0, half = (uint64_t(1) << (dropped - 1)) - odd;
    uint64_t bits = bits_of_double(v);
    bits = (bits + half + (bits >> dropped & odd)) & ~((uint64_t(1) << dropped) - 1);
    double rounded;
    memcpy(&rounded, &bits, sizeof rounded);
    if (o.subnormals && fabs(v) < o.smallest) rounded = ((v * (1 / o.unit) + PUSH) - PUSH) * o.unit;
    rounded = rounded > o.largest ? o.largest : rounded < -o.largest ? -o.largest : rounded;
    return !o.subnormals && fabs(rounded) < o.smallest ? 0 : rounded;
}

FMAQ_FN bool is_held(const fmaq_cuda_numbers& o, double v) {
    const double magnitude = fabs(v), units = v * (1 / o.unit);
    if (o.kind != 1) return units == trunc(units) && units >= o.low && units <= o.high;
    if (v == 0) return true;
    if (!(magnitude <= o.largest)) return false;
    if (magnitude < o.smallest) return o.subnormals && units == trunc(units);
    return !(bits_of_double(v) & ((uint64_t(1) << (52 - o.man_bits)) - 1));
}

struct Found {
    uint64_t bad = 0, largest = 0, smallest = ~uint64_t(0);
    FMAQ_IN void add(const Found& other) {
        bad |= other.bad;
        largest = other.largest > largest ? other.largest : largest;
        smallest = other.smallest < smallest ? other.smallest : smallest;
    }
};

FMAQ_FN void quantize_one(const fmaq_cuda_numbers& o, int64_t j, Found& found) {
    const double v = number_at(o, j) / (o.scales ? o.scales[j / o.run % o.channels] : o.scale);
    found.bad |= !(fabs(v) <= 1.7976931348623157e308);
    const double rounded = nearest(o, v) + 0.0;
    if (o.out_double) static_cast<double*>(o.out)[j] = rounded;
    else static_cast<float*>(o.out)[j] = static_cast<float>(rounded);
}
FMAQ_FN void inspect_one(const fmaq_cuda_numbers& o, int64_t j, Found& found) {
    const double v = number_at(o, j);
    const uint64_t magnitude = bits_of_double(fabs(v));
    found.add({!is_held(o, v), magnitude, magnitude ? magnitude : ~uint64_t(0)});
}

#ifdef __CUDACC__
__device__ void tell(const fmaq_cuda_numbers& o, Found found) {
    for (int other = 16; other; other /= 2) {
        Found theirs;
        theirs.bad = __shfl_xor_sync(~0u, found.bad, other);
        theirs.largest = __shfl_xor_sync(~0u, found.largest, other);
        theirs.smallest = __shfl_xor_sync(~0u, found.smallest, other);
        found.add(theirs);
    }
    if (threadIdx.x % 32) return;
    using Word = unsigned long long;
    if (found.bad) o.found[0] = 1;
    atomicMax(reinterpret_cast<Word*>(o.found + 1), static_cast<Word>(found.largest));
    atomicMin(reinterpret_cast<Word*>(o.found + 2), static_cast<Word>(found.smallest));
}
template <bool QUANTIZES>
__global__ void __launch_bounds__(NUMBER_THREADS) numbers_kernel(const __grid_constant__ fmaq_cuda_numbers o) {
    Found found;
    for (int64_t j = int64_t(blockIdx.x) * NUMBER_THREADS + threadIdx.x; j < o.n; j += int64_t(gridDim.x) * NUMBER_THREADS)
        QUANTIZES ? quantize_one(o, j, found) : inspect_one(o, j, found);
    if constexpr (!QUANTIZES) tell(o, found);
    else if (found.bad) o.found[0] = 1;
}
#endif

template <bool QUANTIZES>
int launch_numbers(const fmaq_cuda_numbers& o, [[maybe_unused]] void* stream) {
#ifdef __CUDACC__
    const int64_t blocks = (o.n + NUMBER_THREADS - 1) / NUMBER_THREADS;
    numbers_kernel<QUANTIZES><<<static_cast<unsigned>(blocks < 4096 ? blocks : 4096), NUMBER_THREADS, 0,
                                static_cast<cudaStream_t>(stream)>>>(o);
    return cudaGetLastError();
#else
    Found found;
    for (int64_t j = 0; j < o.n; j++) QUANTIZES ? quantize_one(o, j, found) : inspect_one(o, j, found);
    o.found[0] |= found.bad;
    if (QUANTIZES) return 0;
    o.found[1] = found.largest > o.found[1] ? found.largest : o.found[1];
    o.found[2] = found.smallest < o.found[2] ? found.smallest : o.found[2];
    return 0;
#endif
}

}  // namespace
}  // namespace fmaq

extern "C" const int64_t fmaq_cuda_numbers_size = sizeof(fmaq_cuda_numbers);

// Return a cudaError_t.
extern "C" int fmaq_cuda_quantize(const fmaq_cuda_numbers* o, void* stream) { return fmaq::launch_numbers<true>(*o, stream); }
extern "C" int fmaq_cuda_inspect(const fmaq_cuda_numbers* o, void* stream) { return fmaq::launch_numbers<false>(*o, stream); }

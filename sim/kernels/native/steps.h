// The steps of docs/arithmetic.md on integers, one number at a time: the statement that the processor's
// and the graphics card's kernels share. Names are those of golden/arith.py. No float takes part.
#pragma once
#include <cstdint>

#ifdef __CUDACC__
#define FMAQ_FN __host__ __device__ inline
#else
#define FMAQ_FN static inline
#endif

extern "C" {

// A quantizer or an accumulator. Mirrored field by field by sim/kernels/native/library.py.
struct fmaq_step {
    int32_t kind;         // 0: none, 1: float, 2: fixed point
    int32_t rounding;     // 0: toward zero, 1: nearest even, 2: floor, 3: stochastic
    int32_t man_bits;     // stored mantissa bits; bits of a fixed format
    int32_t bias;         // of a float format; minus the lsb of a fixed one
    int32_t subnormals;   // whether exponent code 0 has no hidden bit
    int32_t guard_bits;   // of the alignment; -1: exact
    int32_t wrap;         // fixed point: modulo 2**bits, not saturated
    int32_t random_bits;  // of a stochastic rounding
    int64_t max_code;     // of the largest finite magnitude
};

// The same step in a vector type (see tile.h), whose numbers are those of the contract times 2**shift.
struct fmaq_lane_step {
    int32_t way;      // fmaq::Way
    int32_t man_bits;  // kept; bits of a fixed format
    int32_t guard;    // whether addends are cut first, to 2**(k - man_bits - guard_bits)
    int32_t guard_bits;
    int32_t random_bits;
    int32_t flush;     // 0: nothing to flush; 1: what is below 2**min and the power itself; 2: by `smallest`
    int32_t wrap;
    int32_t same_fixed;  // outer: takes fixed-point sums as they are
    double scale;     // of an addend, from its own shift to this one's
    double maximum;   // scaled; infinity: cannot be reached
    double limit;     // the same in units of the largest |x| times the largest |w|, rounded to powers of two
    double smallest;  // scaled smallest nonzero magnitude (flush = 2)
    double min_normal;  // scaled 2**(1 - bias) of a format with subnormals; the grid is 1
    double low, high;  // of a fixed format
    double growth;    // a chunk's sum of magnitudes may be exceeded by at most this factor
};
// Counts of one kind of step.
struct fmaq_events {
    int64_t overflow, underflow, swamped;
};
}

namespace fmaq {

enum Kind { NONE = 0, FLOAT = 1, FIXED = 2 };
enum Rounding { TOWARD_ZERO = 0, NEAREST_EVEN = 1, FLOOR = 2, STOCHASTIC = 3 };
enum Stage { PRODUCT = 0, INNER = 1, OUTER = 2 };
// How a vector type or a card computes a step; ANY: as the step itself says. Values are those of lane_types.Way.
enum Way { W_NONE, W_EXACT, W_RZ, W_RNE, W_SR, W_SUB_RZ, W_SUB_RNE, W_FIXED_RZ, W_FIXED_FLOOR, W_FIXED_RNE,
           W_WHOLE, W_SUM, ANY };

// (-1)**negative * significand * 2**exponent; zero is not negative.
struct Unpacked {
    uint64_t significand;
    int32_t exponent;
    bool negative;
};

// A running sum: sign and magnitude code of a float format, or a multiple of the lsb.
struct Sum {
    int64_t magnitude;  // the signed multiple itself in fixed point
    bool negative;
};

FMAQ_FN int floor_log2(uint64_t n) {
#ifdef __CUDA_ARCH__
    return 63 - __clzll(static_cast<long long>(n));
#else
    return 63 - __builtin_clzll(n);
#endif
}

FMAQ_FN uint64_t shift_right(uint64_t n, int by) { return by > 63 ? 0 : n >> by; }

FMAQ_FN uint32_t mix(uint32_t a) {
    a = (a + 0x7ed55d16u) + (a << 12);
    a = (a ^ 0xc761c23cu) ^ (a >> 19);
    a = (a + 0x165667b1u) + (a << 5);
    a = (a + 0xd3a2646cu) ^ (a << 9);
    a = (a + 0xfd7046c5u) + (a << 3);
    a = (a ^ 0xb55a4f09u) ^ (a >> 16);
    return a;
}

// Side 0 is a word of row m, side 1 of column n; a word is the XOR of the two.
FMAQ_FN uint32_t word_key(uint64_t seed, uint32_t call, int stage, int side) {
    const uint32_t low = static_cast<uint32_t>(seed), high = static_cast<uint32_t>(seed >> 32);
    return mix(mix(mix(mix(low) ^ high) ^ call) ^ static_cast<uint32_t>(2 * stage + side));
}
FMAQ_FN uint32_t word_at(uint32_t line_key, uint32_t k) { return mix(line_key ^ (k * 0x9e3779b9u)); }

FMAQ_FN Unpacked unpack(Sum sum, const fmaq_step& step) {
    if (step.kind == FIXED) {
        const bool negative = sum.magnitude < 0;
        return {static_cast<uint64_t>(negative ? -sum.magnitude : sum.magnitude), -step.bias, negative};
    }
    const int64_t hidden = int64_t(1) << step.man_bits;
    int64_t exp_code = sum.magnitude >> step.man_bits;
    uint64_t significand = static_cast<uint64_t>(sum.magnitude & (hidden - 1));
    if (step.subnormals && exp_code == 0) exp_code = 1;
    else if (sum.magnitude) significand += static_cast<uint64_t>(hidden);
    return {significand, static_cast<int32_t>(exp_code) - step.bias - step.man_bits, sum.negative};
}

// Drops `discard` low bits, or appends zeros where it is negative.
FMAQ_FN uint64_t round_significand(uint64_t exact, int discard, int rounding, bool negative, int random_bits,
                                   uint32_t word) {
    if (rounding == STOCHASTIC) {
        const int below = discard - random_bits;
        const uint64_t kept = below > 0 ? shift_right(exact, below) : exact << -below;
        return (kept + word) >> random_bits;
    }
    if (discard <= 0) return exact << -discard;
    const uint64_t kept = shift_right(exact, discard);
    if (rounding == TOWARD_ZERO) return kept;
    if (discard > 63) return rounding == FLOOR && negative && exact ? kept + 1 : kept;
    const uint64_t remainder = exact - (kept << discard);
    if (rounding == FLOOR) return kept + (negative && remainder);
    const uint64_t half = uint64_t(1) << (discard - 1);
    return kept + (remainder > half || (remainder == half && (kept & 1)));
}

// The magnitude code with the exponent unbounded: 0 or less for what is flushed.
FMAQ_FN int64_t magnitude_code(const Unpacked& exact, const fmaq_step& step, uint32_t word) {
    if (exact.significand == 0) return 0;
    int exp_code = floor_log2(exact.significand) + exact.exponent + step.bias;
    if (step.subnormals && exp_code < 1) exp_code = 1;
    const int discard = exp_code - step.bias - step.man_bits - exact.exponent;
    const uint64_t kept =
        round_significand(exact.significand, discard, step.rounding, exact.negative, step.random_bits, word);
    return (static_cast<int64_t>(exp_code) - 1) * (int64_t(1) << step.man_bits) + static_cast<int64_t>(kept);
}

FMAQ_FN Sum clip(int64_t code, bool negative, const fmaq_step& step) {
    if (code <= 0) return {0, false};
    return {code < step.max_code ? code : step.max_code, negative};
}

FMAQ_FN Sum quantize(const Unpacked& exact, const fmaq_step& step, uint32_t word) {
    return clip(magnitude_code(exact, step, word), exact.negative, step);
}

FMAQ_FN int64_t align(const Unpacked& number, int grid, bool sticky) {
    if (number.significand == 0) return 0;
    const int discard = grid - number.exponent;
    uint64_t magnitude;
    if (discard > 0) {
        const uint64_t kept = shift_right(number.significand, discard);
        magnitude = kept;
        if (sticky && (discard > 63 || kept << discard != number.significand)) magnitude |= 1;
    } else {
        magnitude = number.significand << -discard;
    }
    return number.negative ? -static_cast<int64_t>(magnitude) : static_cast<int64_t>(magnitude);
}

// The sum as the accumulator's rounder sees it: exact with a sticky bit, or of addends cut to g guard bits.
FMAQ_FN Unpacked rounder_input(const Unpacked& acc, const Unpacked& addend, const fmaq_step& step) {
    int top = -(1 << 20);
    if (acc.significand) top = floor_log2(acc.significand) + acc.exponent;
    if (addend.significand) {
        const int other = floor_log2(addend.significand) + addend.exponent;
        if (other > top) top = other;
    }
    const bool exact = step.guard_bits < 0;
    if (!exact && step.subnormals && top < 1 - step.bias) top = 1 - step.bias;
    const int grid = exact ? top - 61 : top - step.man_bits - step.guard_bits;
    const int64_t total = align(acc, grid, exact) + align(addend, grid, exact);
    return {static_cast<uint64_t>(total < 0 ? -total : total), grid, total < 0};
}

// An addend as a multiple of the lsb: what is too long keeps its meaning in the sum.
FMAQ_FN int64_t cut(const Unpacked& exact, const fmaq_step& step, bool wrap) {
    const int discard = -step.bias - exact.exponent;
    uint64_t kept = exact.significand;
    if (discard > 0)
        kept = round_significand(kept, discard, step.rounding, exact.negative, 0, 0);
    const int lift = discard < 0 ? -discard : 0;
    const uint64_t limit = uint64_t(1) << 62;
    if (wrap)
        kept = lift > 62 ? 0 : (kept << lift) & (limit - 1);
    else
        kept = kept && (lift > 62 || kept >> (62 - lift)) ? limit : kept << lift;
    return exact.negative ? -static_cast<int64_t>(kept) : static_cast<int64_t>(kept);
}

FMAQ_FN int64_t max_integer(const fmaq_step& step) { return (int64_t(1) << (step.man_bits - 1)) - 1; }

// Qacc(acc + addend); counts events if asked.
FMAQ_FN Sum add(Sum acc, const Unpacked& addend, const fmaq_step& step, uint32_t word, fmaq_events* events) {
    Sum result;
    bool overflow, nonzero;
    if (step.kind == FLOAT) {
        const Unpacked sum = rounder_input(unpack(acc, step), addend, step);
        const int64_t code = magnitude_code(sum, step, word);
        result = clip(code, sum.negative, step);
        if (!events) return result;
        overflow = code > step.max_code;
        // Whether the sum is zero before any cut, which guard bits may hide.
        const Unpacked before = unpack(acc, step);
        fmaq_step exact = step;
        exact.guard_bits = -1;
        nonzero = result.magnitude == 0 && rounder_input(before, addend, exact).significand != 0;
    } else {
        const int64_t high = max_integer(step), low = -high - 1;
        int64_t total = acc.magnitude + cut(addend, step, step.wrap);
        if (step.wrap) {
            const int unused = 64 - step.man_bits;
            result = {static_cast<int64_t>(static_cast<uint64_t>(total) << unused) >> unused, false};
        } else {
            result = {total > high ? high : total < low ? low : total, false};
        }
        if (!events) return result;
        if (step.wrap) total = acc.magnitude + cut(addend, step, false);
        overflow = total > high || total < low;
        nonzero = false;
        if (total == 0) {
            fmaq_step exact = step;
            exact.guard_bits = -1;
            nonzero = rounder_input(unpack(acc, step), addend, exact).significand != 0;
        }
    }
    events->overflow += overflow;
    events->underflow += nonzero;
    events->swamped += addend.significand && result.magnitude == acc.magnitude &&
                       (result.negative == acc.negative || !result.magnitude);
    return result;
}

// The product as it goes to the adder: quantized, or exact.
FMAQ_FN Unpacked addend_of(const Unpacked& x, const Unpacked& w, const fmaq_step& product, uint32_t word,
                           fmaq_events* events) {
    Unpacked exact = {x.significand * w.significand, x.exponent + w.exponent, x.negative != w.negative};
    if (exact.significand == 0) return {0, 0, false};
    if (product.kind == NONE) return exact;
    const int64_t code = magnitude_code(exact, product, word);
    if (events) {
        events->overflow += code > product.max_code;
        events->underflow += code <= 0;
    }
    return unpack(clip(code, exact.negative, product), product);
}

}  // namespace fmaq

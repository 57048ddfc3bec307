// What one thread of a graphics card does with its numbers: a class for each way to compute. Compiled for the
// processor as well, so that tests compare every way with golden where there is no card.
//
// A way has types Number (an operand in shared memory), Sum (inside a chunk) and Total; number() packs an
// operand, add() is a step, close() adds a chunk's sum to the total, value() is the result times out_scale.
#pragma once
#include <cmath>
#include <cstring>

#include "steps.h"

extern "C" {

// out[b, m, n] = sum over k of x[b, m, k] * w[b, k, n]. Row m of x is pixel (image, row, column) of a
// convolution, or image 0, row 0, column m. Pointers are the device's. Mirrored field by field by cuda.py.
struct fmaq_cuda_job {
    int32_t path;        // 0: integers; 1: single precision; 2: sums in double precision; 3: fmaq::Top
    int32_t processors;  // of the card
    int32_t x_double, w_double, out_double;  // element types: float32, float64
    int32_t x_along, w_along;                // steps are neighbours in memory, not rows or columns
    int32_t underflows;  // whether a product can be too small for the product quantizer
    uint32_t call;       // of the random words
    uint64_t seed;
    const void *x, *w;
    void* out;
    int32_t* lost;                                // set to 1 if a result has more than 53 significant bits
    const int64_t *x_k, *w_k;                     // offsets of step k; [k], or [k, n] where each column has its own
    int64_t k_columns;                            // 0, or n in the latter case, which takes path 0
    int64_t batch, m, n, k, chunk;
    int64_t x_batch, w_batch, out_batch;          // strides, in elements
    int64_t pixel_rows, pixel_columns;            // pixels of an image
    int64_t x_image, x_row, x_column;             // of a pixel
    int64_t out_image, out_pixel, out_n, w_n;
    int64_t m_words, n_words;                     // word indices that a batch advances
    double x_scale, w_scale;                      // of operands, where they are floats
    double out_scale, out_scale_rest;             // multiplied one after the other: each is a float64
    fmaq_step product, inner, outer;
    fmaq_lane_step lane_product, lane_inner, lane_outer;
};
}

#ifdef __CUDACC__
#define FMAQ_IN __host__ __device__
#else
#define FMAQ_IN
#endif

namespace fmaq {

// As in lanes.py.
enum Way { W_NONE, W_EXACT, W_RZ, W_RNE, W_SR, W_SUB_RZ, W_SUB_RNE, W_FIXED_RZ, W_FIXED_FLOOR, W_FIXED_RNE,
           W_WHOLE, W_SUM };

FMAQ_FN uint32_t bits_of(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}
FMAQ_FN float float_of(uint32_t bits) {
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}
FMAQ_FN float masked(float v, uint32_t keep) { return float_of(bits_of(v) & keep); }
FMAQ_FN float limit(float v, float max) { return fminf(fmaxf(v, -max), max); }

#ifdef __CUDA_ARCH__
FMAQ_FN float mul_rz(float a, float b) { return __fmul_rz(a, b); }
FMAQ_FN float fma_rz(float a, float b, float c) { return __fmaf_rz(a, b, c); }
FMAQ_FN float saturate(float v) { return __saturatef(v); }
FMAQ_FN int32_t to_integer(float v, int way) {
    return way == W_FIXED_RZ ? __float2int_rz(v) : way == W_FIXED_FLOOR ? __float2int_rd(v) : __float2int_rn(v);
}
#else
FMAQ_FN float toward_zero(double v) {
    const float nearest = static_cast<float>(v);
    return std::fabs(static_cast<double>(nearest)) > std::fabs(v) ? std::nextafter(nearest, 0.0f) : nearest;
}
FMAQ_FN float mul_rz(float a, float b) { return toward_zero(static_cast<double>(a) * b); }
// The sum in float64 is rounded to odd, by its error: then the second rounding is that of the exact sum.
FMAQ_FN float fma_rz(float a, float b, float c) {
    const double product = static_cast<double>(a) * b, sum = product + c, back = sum - product;
    const double lost = (product - (sum - back)) + (c - back);
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    const bool inexact = lost != 0 && bits % 2 == 0;
    return toward_zero(inexact ? std::nextafter(sum, lost > 0 ? HUGE_VAL : -HUGE_VAL) : sum);
}
FMAQ_FN float saturate(float v) { return v > 0 ? (v < 1 ? v : 1) : 0; }
FMAQ_FN int32_t to_integer(float v, int way) {
    return static_cast<int32_t>(way == W_FIXED_RZ ? std::trunc(v)
                                : way == W_FIXED_FLOOR ? std::floor(v) : std::nearbyint(v));
}
#endif

// Where an operand stands: side 0 is row `line` of x, side 1 column `line` of w, at step k of the sum.
struct Place {
    int side;
    uint32_t line, k;
};

// Rounding to so many mantissa bits, saturation, flushing. A word is at the position where it is added.
struct Rounder {
    uint32_t keep, half, odd;
    int dropped, up, random_bits;
    float max, smallest, scale;

    explicit Rounder(const fmaq_lane_step& s)
        : keep(~0u), half(0), odd(0), dropped(s.way ? 23 - s.man_bits : 0), up(0),
          random_bits(s.way == W_SR ? s.random_bits : 0), max(static_cast<float>(s.maximum)),
          smallest(static_cast<float>(s.smallest)), scale(static_cast<float>(s.scale)) {
        keep <<= dropped;
        if (s.way == W_RNE && dropped) half = (1u << (dropped - 1)) - 1, odd = 1;
        if (random_bits) up = dropped - random_bits;
    }
    FMAQ_IN uint32_t word(uint32_t whole) const { return random_bits ? whole >> (32 - random_bits) << up : 0; }
    FMAQ_IN float settle(float sum, uint32_t word) const {
        const uint32_t bits = bits_of(sum);
        const float whole = limit(float_of((bits + half + (bits >> dropped & odd) + word) & keep), max);
        return fabsf(whole) < smallest ? 0.0f : whole;
    }
};

// Keys of the random words of a job.
struct Words {
    uint32_t keys[3][2];
    explicit Words(const fmaq_cuda_job& job) {
        for (int stage = 0; stage < 3; stage++)
            for (int side = 0; side < 2; side++) keys[stage][side] = word_key(job.seed, job.call, stage, side);
    }
    FMAQ_IN uint32_t half(int stage, Place at) const { return word_at(mix(keys[stage][at.side] ^ at.line), at.k); }
};

// An operand times a power of two, in two halves: each is a float, and nothing is lost between them.
struct Scales {
    double x[2], w[2];
    explicit Scales(const fmaq_cuda_job& job) {
        const auto split = [](double scale, double* halves) {
            int exponent;
            frexp(scale, &exponent);
            halves[0] = ldexp(1.0, (exponent - 1) / 2);
            halves[1] = scale / halves[0];
        };
        split(job.x_scale, x);
        split(job.w_scale, w);
    }
    FMAQ_IN float operator()(float v, int side) const {
        return v * static_cast<float>(side ? w[0] : x[0]) * static_cast<float>(side ? w[1] : x[1]);
    }
    FMAQ_IN float operator()(double v, int side) const {
        return static_cast<float>(v * (side ? w[0] : x[0]) * (side ? w[1] : x[1]));
    }
};

// Toward zero, at scales where the largest number of each format is the largest float of its bits: then
// rounding toward zero saturates all by itself. A sum is kept as it was rounded to 24 bits; the next step cuts
// it, and multiplies it by 0 where it is to be flushed, by 1 otherwise. CHECK 0: products have the
// scale of sums, and none is flushed; 1: none is flushed; 2: anything.
template <int PROD, int CHECK>
struct Top {
    using Number = float;
    using Sum = float;
    using Total = float;
    static constexpr bool BY_COLUMN = false;
    Scales scales;
    uint32_t product_keep, keep;
    float product_smallest, scale, below;
    Rounder outer;

    explicit Top(const fmaq_cuda_job& job)
        : scales(job), product_keep(Rounder(job.lane_product).keep), keep(Rounder(job.lane_inner).keep),
          product_smallest(static_cast<float>(job.lane_product.smallest)),
          scale(static_cast<float>(job.lane_inner.scale)),
          below(nextafterf(static_cast<float>(job.lane_inner.smallest), 0.0f)), outer(job.lane_outer) {}
    template <class T>
    FMAQ_IN Number number(T value, Place at) const { return scales(value, at.side); }
    FMAQ_IN float counts(Sum s) const { return saturate(fabsf(s) - below); }  // their least difference is above 1
    FMAQ_IN void add(Sum& s, Number x, Number w) const {
        const float acc = masked(s, keep), one = counts(s);
        if constexpr (PROD == W_NONE) {
            s = fma_rz(x, w, acc * one);
        } else {
            const float exact = mul_rz(x, w), product = masked(exact, product_keep);
            if (CHECK == 0) s = fma_rz(acc, one, product);
            else if (CHECK == 1 || fabsf(exact) >= product_smallest) s = fma_rz(product, scale, acc * one);
            else s = acc * one;
        }
    }
    FMAQ_IN void close(Total& total, Sum s, Place, Place) const {
        total = outer.settle(fma_rz(masked(s, keep) * counts(s), outer.scale, total), 0);
    }
    FMAQ_IN double value(Total total, bool*) const { return total; }
};

// Any rounding of formats without subnormals, with the constants of the processor's vector types. WORDS: some
// rounding inside chunks is stochastic.
template <bool WORDS>
struct Worded {
    float value;
    uint32_t product, inner;
};
template <>
struct Worded<false> {
    float value;
};

template <bool WORDS>
struct Rounded {
    using Number = Worded<WORDS>;
    using Sum = float;
    using Total = float;
    static constexpr bool BY_COLUMN = false;
    Scales scales;
    Words words;
    Rounder product, inner, outer;
    bool quantized;

    explicit Rounded(const fmaq_cuda_job& job)
        : scales(job), words(job), product(job.lane_product), inner(job.lane_inner), outer(job.lane_outer),
          quantized(job.lane_product.way != W_NONE) {}
    template <class T>
    FMAQ_IN Number number(T value, Place at) const {
        const float v = scales(value, at.side);
        if constexpr (WORDS) return {v, product.word(words.half(PRODUCT, at)), inner.word(words.half(INNER, at))};
        else return {v};
    }
    FMAQ_IN void add(Sum& s, const Number& x, const Number& w) const {
        uint32_t product_word = 0, word = 0;
        if constexpr (WORDS) product_word = x.product ^ w.product, word = x.inner ^ w.inner;
        if (quantized) s = fma_rz(product.settle(mul_rz(x.value, w.value), product_word), inner.scale, s);
        else s = fma_rz(x.value, w.value, s);
        s = inner.settle(s, word);
    }
    FMAQ_IN void close(Total& total, Sum s, Place m, Place n) const {
        const uint32_t word = outer.random_bits ? outer.word(words.half(OUTER, m) ^ words.half(OUTER, n)) : 0;
        total = outer.settle(fma_rz(s, outer.scale, total), word);
    }
    FMAQ_IN double value(Total total, bool*) const { return total; }
};

// Fixed point whose addends are multiples of the lsb, saturating, or with sums that never leave the range.
template <bool SATURATES>
struct Whole {
    using Number = float;
    using Sum = float;
    using Total = float;
    static constexpr bool BY_COLUMN = false;
    Scales scales;
    float low, high, scale, outer_low, outer_high;

    explicit Whole(const fmaq_cuda_job& job)
        : scales(job), low(static_cast<float>(job.lane_inner.low)), high(static_cast<float>(job.lane_inner.high)),
          scale(static_cast<float>(job.lane_outer.scale)), outer_low(static_cast<float>(job.lane_outer.low)),
          outer_high(static_cast<float>(job.lane_outer.high)) {}
    template <class T>
    FMAQ_IN Number number(T value, Place at) const { return scales(value, at.side); }
    FMAQ_IN void add(Sum& s, Number x, Number w) const {
        s = fma_rz(x, w, s);
        if (SATURATES) s = fminf(fmaxf(s, low), high);
    }
    FMAQ_IN void close(Total& total, Sum s, Place, Place) const {
        total = fma_rz(s, scale, total);
        if (SATURATES) total = fminf(fmaxf(total, outer_low), outer_high);
    }
    FMAQ_IN double value(Total total, bool*) const { return total; }
};

// Sums that float64 holds exactly, in any order.
struct Sums {
    using Number = double;
    using Sum = double;
    using Total = double;
    static constexpr bool BY_COLUMN = false;
    double scale[2];

    explicit Sums(const fmaq_cuda_job& job) : scale{job.x_scale, job.w_scale} {}
    FMAQ_IN Number number(double value, Place at) const { return value * scale[at.side]; }
    FMAQ_IN void add(Sum& s, Number x, Number w) const { s = fma(x, w, s); }
    FMAQ_IN void close(Total& total, Sum s, Place, Place) const { total += s; }
    FMAQ_IN double value(Total total, bool*) const { return total; }
};

// Fixed point: products are cut to integers of 32 bits.
struct Fixed {
    using Number = float;
    using Sum = int32_t;
    using Total = int32_t;
    static constexpr bool BY_COLUMN = false;
    Scales scales;
    int way;
    struct End {
        int32_t low, high, unused, wrap;
        explicit End(const fmaq_lane_step& s)
            : low(static_cast<int32_t>(s.low)), high(static_cast<int32_t>(s.high)), unused(32 - s.man_bits), wrap(s.wrap) {}
        FMAQ_IN int32_t operator()(int32_t sum) const {
            if (wrap) return static_cast<int32_t>(static_cast<uint32_t>(sum) << unused) >> unused;
            return sum < low ? low : sum > high ? high : sum;
        }
    } inner, outer;

    explicit Fixed(const fmaq_cuda_job& job)
        : scales(job), way(job.lane_inner.way), inner(job.lane_inner), outer(job.lane_outer) {}
    template <class T>
    FMAQ_IN Number number(T value, Place at) const { return scales(value, at.side); }
    FMAQ_IN void add(Sum& s, Number x, Number w) const { s = inner(s + to_integer(mul_rz(x, w), way)); }
    FMAQ_IN void close(Total& total, Sum s, Place, Place) const { total = outer(total + s); }
    FMAQ_IN double value(Total total, bool*) const { return total; }
};

// Everything: the steps of steps.h.
struct Integers {
    struct Number {
        Unpacked value;
        uint32_t product, inner;
    };
    using Sum = fmaq::Sum;
    using Total = fmaq::Sum;
    static constexpr bool BY_COLUMN = true;
    Words words;
    fmaq_step product, inner, outer;

    explicit Integers(const fmaq_cuda_job& job) : words(job), product(job.product), inner(job.inner), outer(job.outer) {}
    FMAQ_IN uint32_t half(const fmaq_step& step, int stage, Place at) const {
        return step.rounding == STOCHASTIC ? words.half(stage, at) >> (32 - step.random_bits) : 0;
    }
    FMAQ_IN Number number(double value, Place at) const {
        uint64_t bits;
        memcpy(&bits, &value, sizeof bits);
        // An operand has 24 significant bits at most, and is far above float64's subnormals.
        const uint64_t significand = (bits & ((uint64_t(1) << 52) - 1)) | uint64_t(1) << 52;
        const Unpacked exact = {value == 0 ? 0 : significand >> 29, static_cast<int32_t>(bits >> 52 & 0x7ff) - 1046,
                                value < 0};
        return {exact, half(product, PRODUCT, at), half(inner, INNER, at)};
    }
    FMAQ_IN void add(Sum& s, const Number& x, const Number& w) const {
        const Unpacked p = addend_of(x.value, w.value, product, x.product ^ w.product, nullptr);
        s = fmaq::add(s, p, inner, x.inner ^ w.inner, nullptr);
    }
    FMAQ_IN void close(Total& total, Sum s, Place m, Place n) const {
        total = fmaq::add(total, unpack(s, inner), outer, half(outer, OUTER, m) ^ half(outer, OUTER, n), nullptr);
    }
    FMAQ_IN double value(Total total, bool* lost) const {
        const Unpacked exact = unpack(total, outer);
        const double magnitude = static_cast<double>(exact.significand);
        *lost |= static_cast<uint64_t>(magnitude) != exact.significand;
        return ldexp(exact.negative ? -magnitude : magnitude, exact.significand ? exact.exponent : 0);
    }
};

}  // namespace fmaq

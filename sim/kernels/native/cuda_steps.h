// What one thread of a graphics card does with its numbers: a class for each way to compute. Compiled for the
// processor as well, so that tests compare every way with golden where there is no card.
//
// A way has types Element (of operands as they come), Number (of the same in shared memory), Sum (inside a
// chunk) and Total. number() makes a Number, add() is a step, close() adds a chunk's sum to the total, value()
// is the result over out_scale.
#pragma once
#include <cmath>
#include <cstring>

#include "steps.h"

extern "C" {

// out[b, m, n] = sum over k of x[b, m, k] * w[b, k, n]. Row m of x is pixel (image, row, column) of a
// convolution, or image 0, row 0, column m. Pointers are the device's.
// Mirrored field by field by cuda_library.py.
struct fmaq_cuda_job {
    int32_t path;        // 0: integers; 1: single precision; 2: sums in double precision; 3: fmaq::Top
    int32_t processors;  // of the card
    int32_t x_double, w_double, out_double;  // element types: float32, float64
    int32_t x_along, w_along;  // steps are neighbours in memory, not rows or columns
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
    double x_scale, w_scale;                      // powers of two that operands are multiplied with
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

// Toward zero, at scales where the largest number of each format is the largest float of its bits: then
// rounding toward zero saturates all by itself. A sum is kept as it was rounded to 24 bits; the next step cuts
// it, and multiplies it by 0 where it is to be flushed, by 1 otherwise. CHECK 0: products have the
// scale of sums, and none is flushed; 1: none is flushed; 2: anything.
template <int PROD, int CHECK>
struct Top {
    using Element = float;
    using Number = float;
    using Sum = float;
    using Total = float;
    static constexpr bool BY_COLUMN = false;
    struct Cut {
        uint32_t keep;
        float below;  // the largest that is flushed; it differs from others by 1 or more
        explicit Cut(const fmaq_lane_step& s)
            : keep(Rounder(s).keep), below(nextafterf(static_cast<float>(s.smallest), 0.0f)) {}
        FMAQ_IN float cut(float sum) const { return masked(sum, keep); }
        FMAQ_IN float one(float sum) const { return saturate(fabsf(sum) - below); }
    } product, inner, outer;
    float scale, outer_scale;

    explicit Top(const fmaq_cuda_job& job)
        : product(job.lane_product), inner(job.lane_inner), outer(job.lane_outer),
          scale(static_cast<float>(job.lane_inner.scale)), outer_scale(static_cast<float>(job.lane_outer.scale)) {}
    FMAQ_IN Number number(Element value, Place) const { return value; }
    FMAQ_IN void add(Sum& s, Number x, Number w) const {
        const float acc = inner.cut(s), one = inner.one(s);
        if constexpr (PROD == W_NONE) {
            s = fma_rz(x, w, acc * one);
        } else {
            const float exact = mul_rz(x, w), p = product.cut(exact);
            if constexpr (CHECK == 0) s = fma_rz(acc, one, p);
            else s = fma_rz(CHECK == 1 ? p : p * product.one(exact), scale, acc * one);
        }
    }
    FMAQ_IN void close(Total& total, Sum s, Place, Place) const {
        total = fma_rz(inner.cut(s) * inner.one(s), outer_scale, outer.cut(total) * outer.one(total));
    }
    FMAQ_IN double value(Total total, bool*) const { return outer.cut(total) * outer.one(total); }
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
    using Element = float;
    using Number = Worded<WORDS>;
    using Sum = float;
    using Total = float;
    static constexpr bool BY_COLUMN = false;
    Words words;
    Rounder product, inner, outer;
    bool quantized;

    explicit Rounded(const fmaq_cuda_job& job)
        : words(job), product(job.lane_product), inner(job.lane_inner), outer(job.lane_outer),
          quantized(job.lane_product.way != W_NONE) {}
    FMAQ_IN Number number(Element v, Place at) const {
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
    using Element = float;
    using Number = float;
    using Sum = float;
    using Total = float;
    static constexpr bool BY_COLUMN = false;
    float low, high, scale, outer_low, outer_high;

    explicit Whole(const fmaq_cuda_job& job)
        : low(static_cast<float>(job.lane_inner.low)), high(static_cast<float>(job.lane_inner.high)),
          scale(static_cast<float>(job.lane_outer.scale)), outer_low(static_cast<float>(job.lane_outer.low)),
          outer_high(static_cast<float>(job.lane_outer.high)) {}
    FMAQ_IN Number number(Element value, Place) const { return value; }
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
    using Element = double;
    using Number = double;
    using Sum = double;
    using Total = double;
    static constexpr bool BY_COLUMN = false;
    explicit Sums(const fmaq_cuda_job&) {}
    FMAQ_IN Number number(Element value, Place) const { return value; }
    FMAQ_IN void add(Sum& s, Number x, Number w) const { s = fma(x, w, s); }
    FMAQ_IN void close(Total& total, Sum s, Place, Place) const { total += s; }
    FMAQ_IN double value(Total total, bool*) const { return total; }
};

// Fixed point: products are cut to integers of 32 bits.
struct Fixed {
    using Element = float;
    using Number = float;
    using Sum = int32_t;
    using Total = int32_t;
    static constexpr bool BY_COLUMN = false;
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
        : way(job.lane_inner.way), inner(job.lane_inner), outer(job.lane_outer) {}
    FMAQ_IN Number number(Element value, Place) const { return value; }
    FMAQ_IN void add(Sum& s, Number x, Number w) const { s = inner(s + to_integer(mul_rz(x, w), way)); }
    FMAQ_IN void close(Total& total, Sum s, Place, Place) const { total = outer(total + s); }
    FMAQ_IN double value(Total total, bool*) const { return total; }
};

// Everything: the steps of steps.h.
struct Integers {
    using Element = double;
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
    FMAQ_IN Number number(Element value, Place at) const {
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

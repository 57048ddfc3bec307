// The ways of cuda_steps.h once more, each step telling whether it lets a gradient pass: golden/gradients.py.
//
// A way has types Element, Number, Sum and Total as there, and number(). step<RULE>() is a step inside a chunk,
// end<RULE>() adds a chunk's sum to the total; both return whether the step counts.
#pragma once
#include "cuda_steps.h"

namespace fmaq {

// When a step counts: it did not overflow; it changed the sum; it did by more than a fraction of its addend.
enum Rule { NO_OVERFLOW = 0, CHANGE = 1, LARGE_CHANGE = 2 };

FMAQ_FN bool is_large(double after, double before, double fraction, double addend) {
    return fabs(after - before) > fraction * fabs(addend);
}

// Any rounding of formats without subnormals. CUTS: all roundings are toward zero.
template <bool WORDS, bool CUTS>
struct RoundedChain : Rounded<WORDS> {
    using Base = Rounded<WORDS>;
    using typename Base::Number;
    using typename Base::Sum;
    using typename Base::Total;
    double fraction;
    RoundedChain(const fmaq_cuda_job& job, double fraction) : Base(job), fraction(fraction) {}

    // As Rounder::settle, and whether it saturates.
    FMAQ_IN static float settle(const Rounder& r, float sum, uint32_t word, bool* over) {
        const uint32_t bits = bits_of(sum);
        const float whole = float_of((CUTS ? bits : bits + r.half + (bits >> r.dropped & r.odd) + word) & r.keep);
        *over = fabsf(whole) > r.max;
        const float held = limit(whole, r.max);
        return fabsf(held) < r.smallest ? 0.0f : held;
    }
    template <int RULE>
    FMAQ_IN bool ends(const Rounder& r, float& acc, float sum, uint32_t word, double addend) const {
        bool over;
        const float before = acc;
        acc = settle(r, sum, word, &over);
        return RULE == NO_OVERFLOW ? !over : RULE == CHANGE ? acc != before : is_large(acc, before, fraction, addend);
    }
    template <int RULE>
    FMAQ_IN bool step(Sum& s, const Number& x, const Number& w) const {
        uint32_t product_word = 0, word = 0;
        if constexpr (WORDS) product_word = x.product ^ w.product, word = x.inner ^ w.inner;
        if (!this->quantized)
            return ends<RULE>(this->inner, s, fma_rz(x.value, w.value, s), word, static_cast<double>(x.value) * w.value);
        bool over;
        const float p = settle(this->product, mul_rz(x.value, w.value), product_word, &over), scale = this->inner.scale;
        return ends<RULE>(this->inner, s, fma_rz(p, scale, s), word, static_cast<double>(p) * scale);
    }
    template <int RULE>
    FMAQ_IN bool end(Total& total, Sum s, Place m, Place n) const {
        const Rounder& r = this->outer;
        const uint32_t word = r.random_bits ? r.word(this->words.half(OUTER, m) ^ this->words.half(OUTER, n)) : 0;
        return ends<RULE>(r, total, fma_rz(s, r.scale, total), word, static_cast<double>(s) * r.scale);
    }
};

// Fixed point whose addends are multiples of the lsb, saturating.
struct WholeChain : Whole<true> {
    double fraction;
    WholeChain(const fmaq_cuda_job& job, double fraction) : Whole<true>(job), fraction(fraction) {}

    template <int RULE>
    FMAQ_IN bool ends(float& acc, float sum, float least, float most, double addend) const {
        const float before = acc;
        acc = fminf(fmaxf(sum, least), most);
        return RULE == NO_OVERFLOW ? sum == acc : RULE == CHANGE ? acc != before : is_large(acc, before, fraction, addend);
    }
    template <int RULE>
    FMAQ_IN bool step(Sum& s, Number x, Number w) const {
        return ends<RULE>(s, fma_rz(x, w, s), low, high, static_cast<double>(x) * w);
    }
    template <int RULE>
    FMAQ_IN bool end(Total& total, Sum s, Place, Place) const {
        return ends<RULE>(total, fma_rz(s, scale, total), outer_low, outer_high, static_cast<double>(s) * scale);
    }
};

// Fixed point in integers of 32 bits.
struct FixedChain : Fixed {
    double fraction;
    FixedChain(const fmaq_cuda_job& job, double fraction) : Fixed(job), fraction(fraction) {}

    template <int RULE>
    FMAQ_IN bool ends(const End& end, int32_t& acc, int32_t addend, double exact) const {
        const int32_t before = acc, sum = acc + addend;
        acc = end(sum);
        return RULE == NO_OVERFLOW ? sum >= end.low && sum <= end.high
               : RULE == CHANGE    ? acc != before
                                   : is_large(acc, before, fraction, exact);
    }
    template <int RULE>
    FMAQ_IN bool step(Sum& s, Number x, Number w) const {
        return ends<RULE>(inner, s, to_integer(mul_rz(x, w), way), static_cast<double>(x) * w);
    }
    template <int RULE>
    FMAQ_IN bool end(Total& total, Sum s, Place, Place) const {
        return ends<RULE>(outer, total, s, s);
    }
};

// Everything.
struct IntegersChain : Integers {
    double fraction;
    IntegersChain(const fmaq_cuda_job& job, double fraction) : Integers(job), fraction(fraction) {}

    FMAQ_IN static double value_of(const Unpacked& v) {
        const double magnitude = ldexp(static_cast<double>(v.significand), v.significand ? v.exponent : 0);
        return v.negative ? -magnitude : magnitude;
    }
    template <int RULE>
    FMAQ_IN bool ends(const fmaq_step& how, fmaq::Sum& acc, const Unpacked& addend, uint32_t word) const {
        const fmaq::Sum before = acc;
        if constexpr (RULE == NO_OVERFLOW) {
            fmaq_events events = {0, 0, 0};
            acc = fmaq::add(before, addend, how, word, &events);
            return !events.overflow;
        } else {
            acc = fmaq::add(before, addend, how, word, nullptr);
            if constexpr (RULE == CHANGE) return acc.magnitude != before.magnitude || acc.negative != before.negative;
            else return is_large(value_of(unpack(acc, how)), value_of(unpack(before, how)), fraction, value_of(addend));
        }
    }
    template <int RULE>
    FMAQ_IN bool step(Sum& s, const Number& x, const Number& w) const {
        const Unpacked p = addend_of(x.value, w.value, product, x.product ^ w.product, nullptr);
        return ends<RULE>(inner, s, p, x.inner ^ w.inner);
    }
    template <int RULE>
    FMAQ_IN bool end(Total& total, Sum s, Place m, Place n) const {
        return ends<RULE>(outer, total, unpack(s, inner), half(outer, OUTER, m) ^ half(outer, OUTER, n));
    }
};

}  // namespace fmaq

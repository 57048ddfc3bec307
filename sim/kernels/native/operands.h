// Operands before they are multiplied: what range they span, whether a format holds them, and rounding to it.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "steps.h"

extern "C" {

// n numbers next to each other, and a format.
struct fmaq_operand {
    const void* data;
    int64_t n;
    int32_t is_double;
    int32_t out_double;  // of what is written
    int32_t threads;
    int32_t kind;        // 1: float, 2: fixed point
    int32_t man_bits, subnormals;
    double largest, smallest;  // magnitudes of a float format, smallest not subnormal
    double low, high, unit;    // ends of a fixed format, in units; the unit, also of subnormals
    double scale;              // numbers are divided by it before they are rounded

};

struct fmaq_extent {
    double largest, smallest;  // magnitudes that are not zero; 0: all are zero
    int32_t held;              // the format holds all of them
};
}

namespace fmaq {
namespace {

template <class S>
struct Bits;
template <>
struct Bits<float> {
    using U = uint32_t;
    static constexpr int stored = 23;
};
template <>
struct Bits<double> {
    using U = uint64_t;
    static constexpr int stored = 52;
};

template <class S>
void inspect_typed(const fmaq_operand& o, fmaq_extent* extent) {
    using U = typename Bits<S>::U;
    const S* data = static_cast<const S*>(o.data);
    const U magnitude_mask = ~U(0) >> 1;
    const int below = Bits<S>::stored - o.man_bits;
    const U dropped = o.kind == 1 && below > 0 ? (U(1) << below) - 1 : 0;
    U most = 0, least = ~U(0), lost = 0;
    const int64_t n = o.n;
#pragma omp parallel for num_threads(o.threads) reduction(max : most) reduction(min : least) reduction(| : lost) if (n > 65536)
    for (int64_t j = 0; j < n; j++) {
        U bits;
        std::memcpy(&bits, data + j, sizeof bits);
        bits &= magnitude_mask;
        most = bits > most ? bits : most;
        least = bits - 1 < least ? bits - 1 : least;  // zero becomes the largest
        lost |= bits & dropped;
    }
    S high, low = 0;
    std::memcpy(&high, &most, sizeof most);
    least += 1;
    if (most) std::memcpy(&low, &least, sizeof least);
    extent->largest = high;
    extent->smallest = low;
    if (o.kind == 1) {
        extent->held = !(high > o.largest) && high == high && !lost && (!most || low >= o.smallest);
        if (extent->held || !o.subnormals || !(high <= o.largest)) return;
        int bad = 0;
        for (int64_t j = 0; j < n; j++) {  // normal numbers by their bits, subnormal ones by their grid
            U bits;
            std::memcpy(&bits, data + j, sizeof bits);
            const double v = std::fabs(static_cast<double>(data[j]));
            const double t = v / o.unit;
            bad |= v < o.smallest ? t != std::trunc(t) : (bits & dropped) != 0;
        }
        extent->held = !bad;
        return;
    }
    int bad = 0;
    const double per_unit = 1 / o.unit, lowest = o.low, highest = o.high;  // the unit is a power of two
#pragma omp parallel for num_threads(o.threads) reduction(| : bad) if (n > 65536)
    for (int64_t j = 0; j < n; j++) {
        const double t = static_cast<double>(data[j]) * per_unit;
        bad |= (t != std::trunc(t)) | !(t >= lowest) | !(t <= highest);
    }
    extent->held = !bad;
}

int inspect(const fmaq_operand& o, fmaq_extent* extent) {
    if (o.is_double) inspect_typed<double>(o, extent);
    else inspect_typed<float>(o, extent);
    return 0;
}

// Nearest, ties to even: of the format's significand, or of the grid of subnormals and fixed point.
template <class S, class D>
int quantize_typed(const fmaq_operand& o, D* out) {
    const S* data = static_cast<const S*>(o.data);
    const int dropped = 52 - o.man_bits;
    // Without a mantissa the last bit that is kept is the hidden one, which is odd: a tie goes up.
    const uint64_t odd = o.man_bits ? 1 : 0;
    const uint64_t half = o.kind == 1 ? (uint64_t(1) << (dropped - 1)) - odd : 0;
    const uint64_t keep = ~((uint64_t(1) << dropped) - 1);
    int bad = 0;
    const bool is_float = o.kind == 1, grid = o.subnormals != 0;
    const double magic = 0x1.8p52;  // pushes out what is below 1, to the nearest
    const double scale = o.scale, unit = o.unit, per_unit = 1 / o.unit, low = o.low, high = o.high, largest = o.largest, smallest = o.smallest;
#pragma omp parallel for num_threads(o.threads) reduction(| : bad) if (o.n > 65536)
    for (int64_t j = 0; j < o.n; j++) {
        const double v = static_cast<double>(data[j]) / scale;
        bad |= !(std::fabs(v) <= 1.7976931348623157e308);
        double r;
        if (is_float) {
            uint64_t bits;
            std::memcpy(&bits, &v, 8);
            bits = (bits + half + (bits >> dropped & odd)) & keep;
            std::memcpy(&r, &bits, 8);
            if (grid) r = std::fabs(v) < smallest ? ((v * per_unit + magic) - magic) * unit : r;
            r = r > largest ? largest : r < -largest ? -largest : r;
            r = !grid && std::fabs(r) < smallest ? 0 : r;
        } else {
            r = v * per_unit;
            r = r > high ? high : r < low ? low : r;
            r = ((r + magic) - magic) * unit;
        }
        out[j] = static_cast<D>(r + 0.0);
    }
    return bad;
}

// The same for float32 in and out, not scaled, and a format that float32 holds with its own exponents.
int quantize_singles(const fmaq_operand& o, float* out) {
    const float* data = static_cast<const float*>(o.data);
    const int dropped = 23 - o.man_bits;
    const uint32_t odd = dropped && o.man_bits ? 1 : 0;  // as there
    const uint32_t half = dropped ? (uint32_t(1) << (dropped - 1)) - (o.man_bits ? 1 : 0) : 0;
    const uint32_t keep = ~((uint32_t(1) << dropped) - 1);
    const float largest = static_cast<float>(o.largest), smallest = static_cast<float>(o.smallest);
    int bad = 0;
#pragma omp parallel for num_threads(o.threads) reduction(| : bad) if (o.n > 65536)
    for (int64_t j = 0; j < o.n; j++) {
        uint32_t bits;
        std::memcpy(&bits, data + j, 4);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
        bits = (bits + half + (bits >> dropped & odd)) & keep;
        float r;
        std::memcpy(&r, &bits, 4);
        r = r > largest ? largest : r;
        r = r < -largest ? -largest : r;
        r = std::fabs(r) < smallest ? 0.0f : r;
        out[j] = r;
    }
    return bad;
}

int quantize_operand(const fmaq_operand& o, void* out) {
    const bool plain = o.kind == 1 && !o.subnormals && o.scale == 1 && o.largest <= 0x1p127 && o.smallest >= 0x1p-126;
    if (plain && !o.is_double && !o.out_double) return quantize_singles(o, static_cast<float*>(out));
    if (o.is_double)
        return o.out_double ? quantize_typed<double>(o, static_cast<double*>(out))
                            : quantize_typed<double>(o, static_cast<float*>(out));
    return o.out_double ? quantize_typed<float>(o, static_cast<double*>(out))
                        : quantize_typed<float>(o, static_cast<float*>(out));
}

}  // namespace
}  // namespace fmaq

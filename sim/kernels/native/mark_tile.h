// Which steps of a tile's chains let a gradient pass, by the same vector code as the products.
#pragma once
#include <cstdint>
#include <cstring>

#include "marks.h"
#include "tile.h"

namespace fmaq {

// Bits of a tile: [k][ROWS] words of WIDTH bits. First set where a step is marked, in the end where it passes.
template <class L>
constexpr int64_t LINE_BYTES = L::ROWS * VECTORS * L::W / 8;

// The bits of row r, vector v of a line; what `lanes` has above a vector's own is nothing.
template <class L>
static inline void set_marks(uint8_t* line, int r, int v, uint32_t lanes) {
    if constexpr (L::W == 16) {
        const uint16_t word = static_cast<uint16_t>(lanes);
        std::memcpy(line + (r * VECTORS + v) * 2, &word, 2);
    } else if constexpr (L::W == 8) {
        line[r * VECTORS + v] = static_cast<uint8_t>(lanes);
    } else {
        static_assert(L::W == 4 && VECTORS == 2);
        line[r] = static_cast<uint8_t>(v ? line[r] | lanes << 4 : lanes & 0xf);
    }
}

// Where vectors cannot round differently for once: in the default mode, one by one.
template <class L>
__attribute__((noinline)) static uint32_t small_changes_by_loop(typename L::V after, typename L::V before,
                                                                typename L::V addend, double scale, double threshold) {
    alignas(64) typename L::T a[L::W], b[L::W], p[L::W];
    L::store(a, after);
    L::store(b, before);
    L::store(p, addend);
    // Far from where the processor flushes; the mode is another one here.
    constexpr double up = sizeof(typename L::T) == 8 ? 0x1p512 : 1;
    const unsigned saved = _mm_getcsr();
    _mm_setcsr(0x1f80);
    uint32_t lanes = 0;
    for (int j = 0; j < L::W; j++) {
        const double change = static_cast<double>(a[j]) * up - static_cast<double>(b[j]) * up;
        const double least = threshold * (__builtin_fabs(static_cast<double>(p[j])) * up * scale);
        lanes |= static_cast<uint32_t>(!(__builtin_fabs(change) > least)) << j;
    }
    _mm_setcsr(saved);
    return lanes;
}

// Lanes whose |after - before| is at most threshold * |addend|, each side rounded once by float64. `scale` takes an
// addend to the scale of sums.
template <class L>
static inline uint32_t small_changes(typename L::V after, typename L::V before, typename L::V addend,
                                     double scale, double threshold) {
    if constexpr (L::DOUBLES) {
        return L::small_changes(after, before, addend, scale, threshold);
    } else {
        return small_changes_by_loop<L>(after, before, addend, scale, threshold);
    }
}

// One addition in any way, and its marks.
template <class L>
static inline typename L::V add_marked(typename L::V acc, typename L::V p, const Step<L>& c, typename L::V word,
                                       const Rule& rule, double scale, uint32_t* marks) {
    using V = typename L::V;
    V unlimited, limited, next;
    const bool fixed = is_fixed(c.way);
    if (fixed) {
        unlimited = L::add_fixed(acc, to_multiple<ANY, L>(c.has_scale ? L::mul(p, c.scale) : p, c));
        limited = L::limit_fixed(unlimited, c.low, c.high);
        next = c.wrap ? L::wrap_fixed(unlimited, c.bits, c.modulus) : limited;
    } else if (c.way == W_WHOLE) {
        unlimited = L::fma(p, c.scale, acc);
        next = limited = L::min(L::max(unlimited, c.low), c.high);
    } else if (c.way == W_SUM) {
        next = limited = unlimited = L::fma(p, c.scale, acc);
    } else {
        const V sum = c.guard ? aligned_sum<L>(acc, L::mul(p, c.scale), c) : L::fma(p, c.scale, acc);
        unlimited = flushed<L>(rounded<ANY, L>(sum, c, word), c);
        next = limited = L::limit(unlimited, c.max);
    }
    if (rule.mark == M_OVERFLOW) *marks = fixed ? L::differ_fixed(limited, unlimited) : L::differ(limited, unlimited);
    else if (rule.mark == M_SAME) *marks = ~(fixed ? L::differ_fixed(next, acc) : L::differ(next, acc));
    else if (fixed) *marks = small_changes<L>(L::from_fixed(next), L::from_fixed(acc), p, scale, rule.threshold);
    else *marks = small_changes<L>(next, acc, p, scale, rule.threshold);
    return next;
}

// A chunk in any ways, chosen at run time; sums are stored as chunk_loop does.
template <class L>
__attribute__((noinline)) static void chunk_any_marked(const Tile<L>& t, int64_t from, int64_t to,
                                                       const Step<L>& product, const Step<L>& inner, const Rule& rule,
                                                       double scale, typename L::T* sums, uint8_t* bits) {
    using V = typename L::V;
    constexpr int R = L::ROWS;
    const V zero = L::set(0);
    V acc[R][VECTORS];
    for (auto& row : acc)
        for (V& sum : row) sum = zero;
    for (int64_t k = from; k < to; k++)
        for (int r = 0; r < R; r++) {
            const V x = L::set(t.rows[k * R + r]);
            for (int v = 0; v < VECTORS; v++) {
                const auto word_of = [&](int stage) {
                    return L::xor_(L::set(t.row_words[stage][k * R + r]),
                                   L::load(t.lane_words[stage] + (k * VECTORS + v) * L::W));
                };
                V p = L::mul(x, L::load(t.lanes + (k * VECTORS + v) * L::W));
                if (product.way != W_NONE) {
                    p = flushed<L>(rounded<ANY, L>(p, product, product.way == W_SR ? word_of(0) : zero), product);
                    p = L::limit(p, product.max);
                }
                uint32_t marks;
                acc[r][v] = add_marked<L>(acc[r][v], p, inner, inner.way == W_SR ? word_of(1) : zero, rule, scale, &marks);
                set_marks<L>(bits + (k - from) * LINE_BYTES<L>, r, v, marks);
            }
        }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < VECTORS; v++) L::store(sums + (r * VECTORS + v) * L::W, acc[r][v]);
}

// The same with known ways: chunk_loop with every check kept, and marks.
template <class L, int PROD, int INNER, int MARK>
__attribute__((noinline)) static void chunk_marked(const Tile<L>& t, int64_t from, int64_t to, const Step<L>& product,
                                                   const Step<L>& inner, const Rule& rule, double scale,
                                                   typename L::T* sums, uint8_t* bits) {
    using V = typename L::V;
    constexpr int R = L::ROWS;
    constexpr bool FIXED = INNER >= W_FIXED_RZ && INNER <= W_FIXED_RNE;
    V acc[R][VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) acc[r][v] = L::set(0);
    for (int64_t k = from; k < to; k++, bits += LINE_BYTES<L>) {
        V w[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) w[v] = L::load(t.lanes + (k * VECTORS + v) * L::W);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            const V x = L::set(t.rows[k * R + r]);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) {
                V next, unlimited;
                [[maybe_unused]] V addend = x;  // as marks of small changes take it
                if constexpr (FIXED) {
                    unlimited = L::add_fixed(acc[r][v], to_multiple<INNER, L>(L::mul(x, w[v]), inner));
                    next = L::limit_fixed(unlimited, inner.low, inner.high);
                } else if constexpr (INNER == W_WHOLE) {
                    unlimited = L::fma(x, w[v], acc[r][v]);
                    next = L::min(L::max(unlimited, inner.low), inner.high);
                } else {
                    const auto word_of = [&](int stage) {
                        return L::xor_(L::set(t.row_words[stage][k * R + r]),
                                       L::load(t.lane_words[stage] + (k * VECTORS + v) * L::W));
                    };
                    V sum;
                    if constexpr (PROD == W_NONE) {
                        sum = L::fma(x, w[v], acc[r][v]);
                    } else {
                        V p = L::mul(x, w[v]);
                        if constexpr (PROD == W_SR) p = L::addi(p, word_of(0));
                        if constexpr (PROD == W_RNE) p = L::add_odd(p, product.low_half, product.odd, product.dropped);
                        if constexpr (PROD != W_EXACT) p = L::and_(p, product.keep);
                        p = L::limit(p, product.max);
                        sum = L::fma_if(p, product.test, inner.scale, acc[r][v]);
                        if constexpr (MARK == M_SMALL) addend = L::keep_if(p, product.test, product.keep);
                    }
                    V word = L::set(0);
                    if constexpr (INNER == W_SR) word = word_of(1);
                    unlimited = finish<INNER, L>(sum, inner, word, false);
                    next = L::limit(unlimited, inner.max);
                }
                uint32_t marks;
                if constexpr (MARK == M_SMALL) {
                    if constexpr (PROD == W_NONE) addend = L::mul(x, w[v]);
                    const V before = FIXED ? L::from_fixed(acc[r][v]) : acc[r][v];
                    marks = small_changes<L>(FIXED ? L::from_fixed(next) : next, before, addend, scale, rule.threshold);
                } else if constexpr (MARK == M_OVERFLOW) marks = FIXED ? L::differ_fixed(next, unlimited) : L::differ(next, unlimited);
                else marks = FIXED ? L::same_fixed(next, acc[r][v]) : L::same(next, acc[r][v]);
                set_marks<L>(bits, r, v, marks);
                acc[r][v] = next;
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) L::store(sums + (r * VECTORS + v) * L::W, acc[r][v]);
}

template <class L>
using MarkedLoop = void (*)(const Tile<L>&, int64_t, int64_t, const Step<L>&, const Step<L>&, const Rule&, double,
                            typename L::T*, uint8_t*);

template <class L, int PROD, int INNER>
static MarkedLoop<L> marked(Mark mark) {
    switch (mark) {
        case M_OVERFLOW: return chunk_marked<L, PROD, INNER, M_OVERFLOW>;
        case M_SAME: return chunk_marked<L, PROD, INNER, M_SAME>;
        default: return chunk_marked<L, PROD, INNER, M_SMALL>;
    }
}

template <class L>
static MarkedLoop<L> find_marked(const Step<L>& product, const Step<L>& inner, const Rule& rule) {
    const bool plain = !inner.guard && (product.way == W_NONE || product.flush == 1) &&
                       (inner.way >= W_FIXED_RZ ? !inner.has_scale && !inner.wrap : inner.flush == 1);
    if (plain) {
        switch (product.way * 16 + inner.way) {
            case W_NONE * 16 + W_FIXED_RZ: return marked<L, W_NONE, W_FIXED_RZ>(rule.mark);
            case W_NONE * 16 + W_FIXED_FLOOR: return marked<L, W_NONE, W_FIXED_FLOOR>(rule.mark);
            case W_NONE * 16 + W_FIXED_RNE: return marked<L, W_NONE, W_FIXED_RNE>(rule.mark);
            case W_NONE * 16 + W_WHOLE: return marked<L, W_NONE, W_WHOLE>(rule.mark);
            case W_NONE * 16 + W_RZ: return marked<L, W_NONE, W_RZ>(rule.mark);
            case W_EXACT * 16 + W_RZ: return marked<L, W_EXACT, W_RZ>(rule.mark);
            case W_RZ * 16 + W_RZ: return marked<L, W_RZ, W_RZ>(rule.mark);
            case W_NONE * 16 + W_RNE: return marked<L, W_NONE, W_RNE>(rule.mark);
            case W_EXACT * 16 + W_RNE: return marked<L, W_EXACT, W_RNE>(rule.mark);
            case W_RNE * 16 + W_RNE: return marked<L, W_RNE, W_RNE>(rule.mark);
            case W_SR * 16 + W_SR: return marked<L, W_SR, W_SR>(rule.mark);
        }
    }
    return chunk_any_marked<L>;
}

// The steps of a tile that pass, as bits; `outer` is room for a line for each chunk.
template <class L>
__attribute__((noinline)) static void mark_tile(const Tile<L>& t, const Step<L>& product, const Step<L>& inner, const Step<L>& outer,
                      const fmaq_lane_step& bounds_product, const fmaq_lane_step& bounds_inner, bool underflows,
                      double inner_scale, double outer_scale, const Rule& rule, uint8_t* bits, uint8_t* outer_bits,
                      uint8_t* clear) {
    using V = typename L::V;
    constexpr int R = L::ROWS;
    alignas(64) typename L::T sums[R * VECTORS * L::W], out[R * VECTORS * L::W];
    for (int j = 0; j < R * VECTORS; j++) L::store(out + j * L::W, L::set(0));
    const auto* table = find_loops<L>(product, inner);
    const auto steps = find_marked<L>(product, inner, rule);
    int64_t c = 0;
    for (int64_t from = 0; from < t.length; from += t.chunk, c++) {
        const int64_t to = from + t.chunk < t.length ? from + t.chunk : t.length;
        clear[c] = false;
        if (table && rule.mark == M_OVERFLOW && inner.way < W_FIXED_RZ) {
            const double bound = static_cast<double>(t.row_norms[2 * c]) * t.lane_norms[2 * c];
            clear[c] = !inner.sat || stays_below(bound, bounds_inner.growth, bounds_inner.limit);
        }
        if (clear[c]) {
            const double largest = static_cast<double>(t.row_norms[2 * c + 1]) * t.lane_norms[2 * c + 1];
            const bool may_overflow = product.sat && !stays_below(largest, bounds_product.growth, bounds_product.limit);
            table[may_overflow ? 2 : underflows ? 1 : 0][0](t, from, to, product, inner, sums);
        } else {
            steps(t, from, to, product, inner, rule, inner_scale, sums, bits + from * LINE_BYTES<L>);
        }
        for (int r = 0; r < R; r++)
            for (int v = 0; v < VECTORS; v++) {
                V p = L::load(sums + (r * VECTORS + v) * L::W);
                if (is_fixed(inner.way)) p = L::from_fixed(p);
                V word = L::set(0);
                if (outer.way == W_SR)
                    word = L::xor_(L::set(t.row_words[2][c * R + r]),
                                   L::load(t.lane_words[2] + (c * VECTORS + v) * L::W));
                typename L::T* to_out = out + (r * VECTORS + v) * L::W;
                uint32_t marks;
                L::store(to_out, add_marked<L>(L::load(to_out), p, outer, word, rule, outer_scale, &marks));
                set_marks<L>(outer_bits + c * LINE_BYTES<L>, r, v, marks);
            }
    }
    finish_marks<LINE_BYTES<L>>(bits, outer_bits, clear, t.length, t.chunk, rule.recursive);
}

}  // namespace fmaq

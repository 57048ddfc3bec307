// A tile of outputs in vector registers: some rows of one operand, each broadcast, times vectors of the
// other. Which of the two is x makes no difference. Proofs of exactness are sim/kernels/plan.py's.
#pragma once
#include <cstdint>
#include <cstring>
#include <limits>

#include "steps.h"
#include "vectors.h"

namespace fmaq {

constexpr int VECTORS = 2;
enum Counter { P_OVER, P_UNDER, I_OVER, I_UNDER, I_SWAMP, O_OVER, O_UNDER, O_SWAMP, COUNTERS };

template <class L>
struct Step {
    using V = typename L::V;
    using I = typename L::I;
    int way, dropped, flush, guard, wrap, bits, same_fixed;
    bool has_scale, sat;
    V keep, test, low_half, odd, scale, max, smallest, min_normal, factor, low, high, modulus, exponent;

    explicit Step(const fmaq_lane_step& s) {
        const int stored = L::BITS - 1;
        way = s.way;
        flush = s.flush;
        guard = s.guard;
        wrap = s.wrap;
        bits = s.man_bits;
        same_fixed = s.same_fixed;
        const bool is_fixed = way >= W_FIXED_RZ;
        dropped = is_fixed ? 0 : stored - s.man_bits;
        if (dropped < 0) dropped = 0;
        const I kept = ~((I(1) << dropped) - 1);
        const I exponent_bit = I(1) << stored;
        const I magnitude = std::numeric_limits<I>::max();
        keep = L::seti(kept);
        test = L::flush_test(kept);
        low_half = L::seti(dropped ? (I(1) << (dropped - 1)) - 1 : 0);
        odd = L::seti(I(1) << dropped);
        exponent = L::seti(magnitude & ~(exponent_bit - 1));
        has_scale = s.scale != 1;
        scale = L::set(static_cast<typename L::T>(s.scale));
        sat = !is_fixed && s.maximum < __builtin_inf();
        max = L::set(sat ? static_cast<typename L::T>(s.maximum) : std::numeric_limits<typename L::T>::infinity());
        smallest = L::set(static_cast<typename L::T>(s.smallest));
        min_normal = L::set(static_cast<typename L::T>(s.min_normal));
        factor = L::set(static_cast<typename L::T>(s.guard ? __builtin_ldexp(1, stored - s.man_bits - s.guard_bits) : 1));
        [[maybe_unused]] const bool whole = way == W_WHOLE;
        if constexpr (L::ANY_WAY) {
            low = whole ? L::set(static_cast<typename L::T>(s.low)) : L::set_fixed(is_fixed ? s.low : 0);
            high = whole ? L::set(static_cast<typename L::T>(s.high)) : L::set_fixed(is_fixed ? s.high : 0);
        }
        modulus = L::set(static_cast<typename L::T>(way <= W_FIXED_RNE && is_fixed ? __builtin_ldexp(1, s.man_bits) : 1));
    }
};

// The significand rounded, exponent unbounded; what is flushed may still be there.
template <int WAY, class L>
static inline typename L::V rounded(typename L::V s, const Step<L>& c, typename L::V word) {
    const int way = WAY == ANY ? c.way : WAY;
    switch (way) {
        case W_RZ: return L::and_(s, c.keep);
        case W_RNE: return c.dropped ? L::and_(L::add_odd(s, c.low_half, c.odd, c.dropped), c.keep) : s;
        case W_SR: return L::and_(L::addi(s, word), c.keep);
        case W_SUB_RZ: return L::template whole<_MM_FROUND_TO_ZERO>(L::and_(s, c.keep));
        case W_SUB_RNE: {
            const auto grid = L::template whole<_MM_FROUND_TO_NEAREST_INT>(s);
            const auto relative = c.dropped ? L::and_(L::add_odd(s, c.low_half, c.odd, c.dropped), c.keep) : s;
            return L::less(L::abs(s), c.min_normal, grid, relative);
        }
        default: return s;
    }
}

// +0 for what is too small. Its magnitude is 2**MIN_EXPONENT, or the processor has flushed it already.
template <class L>
static inline typename L::V flushed(typename L::V s, const Step<L>& c) {
    if (c.flush == 1) return L::keep_if(s, c.test, c.keep);
    if (c.flush == 2) return L::less(L::abs(s), c.smallest, L::set(0), s);
    return s;
}

template <int WAY, class L, bool GUARD = false>
static inline typename L::V finish(typename L::V s, const Step<L>& c, typename L::V word, bool saturate) {
    using V = typename L::V;
    V r;
    if constexpr (GUARD) {
        r = rounded<WAY, L>(s, c, word);
        r = L::less(L::abs(r), c.smallest, L::set(0), r);
    } else if constexpr (WAY == W_RZ) {
        r = L::keep_if(s, c.test, c.keep);
    } else if constexpr (WAY == W_SR) {
        r = L::keep_if(L::addi(s, word), c.test, c.keep);
    } else if constexpr (WAY == W_RNE) {
        r = L::keep_if(L::add_odd(s, c.low_half, c.odd, c.dropped), c.test, c.keep);
    } else {
        r = flushed<L>(rounded<WAY, L>(s, c, word), c);
    }
    return saturate ? L::limit(r, c.max) : r;
}

// Toward zero to a multiple of 2**(k - M - g); big is 2**(k + stored - M - g).
template <class L>
static inline typename L::V cut(typename L::V v, typename L::V big) {
    return L::signed_as(L::sub(L::add(L::abs(v), big), big), v);
}

template <class L>
static inline typename L::V aligned_sum(typename L::V acc, typename L::V p, const Step<L>& c) {
    auto top = L::and_(L::max(L::abs(acc), L::abs(p)), c.exponent);
    if (c.way == W_SUB_RZ || c.way == W_SUB_RNE) top = L::max(top, c.min_normal);
    const auto big = L::mul(top, c.factor);
    return L::add(cut<L>(acc, big), cut<L>(p, big));
}

template <int WAY, class L>
static inline typename L::V to_multiple(typename L::V p, const Step<L>& c) {
    switch (WAY == ANY ? c.way : WAY) {
        case W_FIXED_FLOOR: return L::template to_fixed<_MM_FROUND_TO_NEG_INF>(p);
        case W_FIXED_RNE: return L::template to_fixed<_MM_FROUND_TO_NEAREST_INT>(p);
        default: return L::template to_fixed<_MM_FROUND_TO_ZERO>(p);
    }
}

static inline bool is_fixed(int way) { return way == W_FIXED_RZ || way == W_FIXED_FLOOR || way == W_FIXED_RNE; }

// Events of a tile and the extremes of its partial sums, lane by lane.
template <class L>
struct Statistics {
    alignas(64) typename L::I counts[COUNTERS][L::ROWS][VECTORS][L::W];
    alignas(64) typename L::T low[2][L::ROWS][VECTORS][L::W], high[2][L::ROWS][VECTORS][L::W];
    void clear() { std::memset(this, 0, sizeof *this); }
    void extend(int place, int r, int v, typename L::V sum) {
        L::store(low[place][r][v], L::min(L::load(low[place][r][v]), sum));
        L::store(high[place][r][v], L::max(L::load(high[place][r][v]), sum));
    }
};

// One addition in any way, with statistics; `first` is the counter of its overflow.
template <class L, int WAY = ANY>
static inline typename L::V add_any(typename L::V acc, typename L::V p, const Step<L>& c, typename L::V word,
                                    Statistics<L>* s, int first, int r, int v) {
    using V = typename L::V;
    const int way = WAY == ANY ? c.way : WAY;
    if (is_fixed(way)) {
        if (c.has_scale) p = L::mul(p, c.scale);
        const V total = L::add_fixed(acc, to_multiple<WAY, L>(p, c));
        const V next = c.wrap ? L::wrap_fixed(total, c.bits, c.modulus) : L::limit_fixed(total, c.low, c.high);
        if (s) {
            const V zero = L::set(0);
            L::tally(s->counts[first][r][v], L::differ_fixed(total, L::limit_fixed(total, c.low, c.high)));
            L::tally(s->counts[first + 1][r][v],
                     ~L::differ_fixed(total, zero) & L::differ(L::from_fixed(acc), L::sub(zero, p)));
            L::tally(s->counts[first + 2][r][v], L::differ(p, zero) & ~L::differ_fixed(next, acc));
        }
        return next;
    }
    if (way == W_SUM) return L::fma(p, c.scale, acc);
    if (way == W_WHOLE) {
        const V total = L::fma(p, c.scale, acc), next = L::min(L::max(total, c.low), c.high);
        if (s) {
            L::tally(s->counts[first][r][v], L::differ(total, next));
            L::tally(s->counts[first + 2][r][v], L::differ(p, L::set(0)) & ~L::differ(next, acc));
        }
        return next;
    }
    V sum, scaled = p;
    if (s || c.guard) scaled = L::mul(p, c.scale);
    sum = c.guard ? aligned_sum<L>(acc, scaled, c) : L::fma(p, c.scale, acc);
    const V whole = flushed<L>(rounded<WAY, L>(sum, c, word), c);
    const V next = c.sat ? L::limit(whole, c.max) : whole;
    if (s) {
        const V zero = L::set(0);
        const uint32_t addend = L::differ(p, zero);
        if (c.sat) L::tally(s->counts[first][r][v], L::above(L::abs(whole), c.max));
        // acc == -p, unless p became 0 on its way into acc's range: then the sum is not zero.
        const uint32_t nonzero = L::differ(acc, L::sub(zero, scaled)) | (addend & ~L::differ(scaled, zero));
        L::tally(s->counts[first + 1][r][v], nonzero & ~L::differ(next, zero));
        L::tally(s->counts[first + 2][r][v], addend & ~L::differ(next, acc));
    }
    return next;
}

template <class L>
struct Tile {
    using T = typename L::T;
    using V = typename L::V;
    static constexpr int ROWS = L::ROWS, WIDTH = VECTORS * L::W;
    // Packed operands: [k][ROWS] and [k][WIDTH]; random words at their bit positions, [k] likewise; sums of
    // squares of each chunk.
    const T *rows, *lanes;
    const T *row_words[3], *lane_words[3];
    const float *row_norms, *lane_norms;  // of the tile, chunk by chunk: see pack
    int64_t length, chunk;
};

// Whether no product, or no sum of these products, can be above a maximum: |sum| <= |x||w| (Cauchy-Schwarz).
static inline bool stays_below(double bound, double growth, double maximum) {
    return bound * growth * (1 + 0x1p-9) <= maximum;
}

// CHECK 0: products neither overflow nor underflow; 1: they do not overflow; 2: anything.
// GUARD: addends are cut before they are added, and flushing is by comparison.
template <class L, int PROD, int INNER, int CHECK, bool SAT, bool GUARD>
__attribute__((noinline)) static void chunk_loop(const Tile<L>& t, int64_t from, int64_t to, const Step<L>& product,
                                                 const Step<L>& inner, typename L::T* sums) {
    using V = typename L::V;
    constexpr int R = L::ROWS;
    V acc[R][VECTORS];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
        for (int v = 0; v < VECTORS; v++) acc[r][v] = L::set(0);
    for (int64_t k = from; k < to; k++) {
        V w[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) w[v] = L::load(t.lanes + (k * VECTORS + v) * L::W);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            const V x = L::set(t.rows[k * R + r]);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) {
                V word = L::set(0);
                if constexpr (INNER == W_SR)
                    word = L::xor_(L::set(t.row_words[1][k * R + r]),
                                   L::load(t.lane_words[1] + (k * VECTORS + v) * L::W));
                if constexpr (INNER >= W_FIXED_RZ && INNER <= W_FIXED_RNE) {
                    acc[r][v] = L::add_fixed(acc[r][v], to_multiple<INNER, L>(L::mul(x, w[v]), inner));
                    if constexpr (SAT) acc[r][v] = L::limit_fixed(acc[r][v], inner.low, inner.high);
                    continue;
                }
                if constexpr (INNER == W_SUM) {
                    acc[r][v] = L::fma(x, w[v], acc[r][v]);
                    continue;
                }
                if constexpr (INNER == W_WHOLE) {
                    acc[r][v] = L::min(L::max(L::fma(x, w[v], acc[r][v]), inner.low), inner.high);
                    continue;
                }
                V s;
                if constexpr (PROD == W_NONE) {
                    if constexpr (GUARD) s = aligned_sum<L>(acc[r][v], L::mul(x, w[v]), inner);
                    else s = L::fma(x, w[v], acc[r][v]);
                } else {
                    V p = L::mul(x, w[v]);
                    if constexpr (PROD == W_SR)
                        p = L::addi(p, L::xor_(L::set(t.row_words[0][k * R + r]),
                                               L::load(t.lane_words[0] + (k * VECTORS + v) * L::W)));
                    if constexpr (PROD == W_RNE) p = L::add_odd(p, product.low_half, product.odd, product.dropped);
                    if constexpr (PROD != W_EXACT) p = L::and_(p, product.keep);
                    if constexpr (CHECK == 2) p = L::limit(p, product.max);
                    if constexpr (GUARD)
                        s = aligned_sum<L>(acc[r][v], L::mul(L::keep_if(p, product.test, product.keep), inner.scale), inner);
                    else
                        s = CHECK ? L::fma_if(p, product.test, inner.scale, acc[r][v])
                                  : L::fma(p, inner.scale, acc[r][v]);
                }
                acc[r][v] = finish<INNER, L, GUARD>(s, inner, word, SAT);
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            if constexpr (INNER >= W_FIXED_RZ && INNER <= W_FIXED_RNE && !SAT)
                acc[r][v] = L::wrap_fixed(acc[r][v], inner.bits, inner.modulus);
            L::store(sums + (r * VECTORS + v) * L::W, acc[r][v]);
        }
}

// Any ways, chosen at run time, and statistics.
template <class L, int PROD = ANY, int INNER = ANY>
__attribute__((noinline)) static void chunk_any(const Tile<L>& t, int64_t from, int64_t to, const Step<L>& product,
                                                const Step<L>& inner, typename L::T* sums, Statistics<L>* s) {
    using V = typename L::V;
    constexpr int R = L::ROWS;
    const V zero = L::set(0);
    const int product_way = PROD == ANY ? product.way : PROD, way = INNER == ANY ? inner.way : INNER;
    if (INNER != ANY && (inner.guard || !s)) __builtin_unreachable();
    V acc[R][VECTORS];
    for (auto& row : acc)
        for (V& sum : row) sum = zero;
    for (int64_t k = from; k < to; k++) {
        for (int r = 0; r < R; r++) {
            const V x = L::set(t.rows[k * R + r]);
            for (int v = 0; v < VECTORS; v++) {
                const V w = L::load(t.lanes + (k * VECTORS + v) * L::W);
                const auto word_of = [&](int stage) {
                    return L::xor_(L::set(t.row_words[stage][k * R + r]),
                                   L::load(t.lane_words[stage] + (k * VECTORS + v) * L::W));
                };
                const V word = way == W_SR ? word_of(1) : zero;
                if (product_way == W_NONE && !s && !inner.guard && way < W_FIXED_RZ) {
                    acc[r][v] = finish<ANY, L>(L::fma(x, w, acc[r][v]), inner, word, inner.sat);
                    continue;
                }
                V p = L::mul(x, w);
                if (product_way != W_NONE) {
                    p = flushed<L>(rounded<PROD, L>(p, product, product_way == W_SR ? word_of(0) : zero), product);
                    if (s) {
                        if (product.sat) L::tally(s->counts[P_OVER][r][v], L::above(L::abs(p), product.max));
                        L::tally(s->counts[P_UNDER][r][v],
                                 L::differ(x, zero) & L::differ(w, zero) & ~L::differ(p, zero));
                    }
                    if (product.sat) p = L::limit(p, product.max);
                }
                acc[r][v] = add_any<L, INNER>(acc[r][v], p, inner, word, s, I_OVER, r, v);
                if (s) s->extend(0, r, v, is_fixed(way) ? L::from_fixed(acc[r][v]) : acc[r][v]);
            }
        }
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < VECTORS; v++) L::store(sums + (r * VECTORS + v) * L::W, acc[r][v]);
}

template <class L>
using ChunkLoop = void (*)(const Tile<L>&, int64_t, int64_t, const Step<L>&, const Step<L>&, typename L::T*);

// [check][sat], or null where only chunk_any will do.
template <class L, int PROD, int INNER, bool GUARD = false>
static const ChunkLoop<L> (*loops())[2] {
    static const ChunkLoop<L> table[3][2] = {
        {chunk_loop<L, PROD, INNER, 0, false, GUARD>, chunk_loop<L, PROD, INNER, 0, INNER <= W_FIXED_RNE, GUARD>},
        {chunk_loop<L, PROD, INNER, PROD ? 1 : 0, false, GUARD>, chunk_loop<L, PROD, INNER, PROD ? 1 : 0, INNER <= W_FIXED_RNE, GUARD>},
        {chunk_loop<L, PROD, INNER, PROD ? 2 : 0, false, GUARD>, chunk_loop<L, PROD, INNER, PROD ? 2 : 0, INNER <= W_FIXED_RNE, GUARD>},
    };
    return table;
}

template <class L>
static const ChunkLoop<L> (*find_loops(const Step<L>& product, const Step<L>& inner))[2] {
    if constexpr (!L::ANY_WAY) {
        switch (product.way) {
            case W_NONE: return loops<L, W_NONE, W_RZ>();
            case W_EXACT: return loops<L, W_EXACT, W_RZ>();
            default: return loops<L, W_RZ, W_RZ>();
        }
    } else {
    if (product.way != W_NONE && product.flush != 1) return nullptr;
    if (inner.guard) {
        if (inner.flush != 2) return nullptr;
        switch (product.way * 16 + inner.way) {
            case W_NONE * 16 + W_RZ: return loops<L, W_NONE, W_RZ, true>();
            case W_EXACT * 16 + W_RZ:
            case W_RZ * 16 + W_RZ: return loops<L, W_RZ, W_RZ, true>();
            case W_NONE * 16 + W_RNE: return loops<L, W_NONE, W_RNE, true>();
            case W_RNE * 16 + W_RNE: return loops<L, W_RNE, W_RNE, true>();
        }
        return nullptr;
    }
    if (inner.way >= W_FIXED_RZ && inner.has_scale) return nullptr;
    switch (inner.way) {
        case W_FIXED_RZ: return loops<L, W_NONE, W_FIXED_RZ>();
        case W_FIXED_FLOOR: return loops<L, W_NONE, W_FIXED_FLOOR>();
        case W_FIXED_RNE: return loops<L, W_NONE, W_FIXED_RNE>();
        case W_WHOLE: return loops<L, W_NONE, W_WHOLE>();
        case W_SUM: return loops<L, W_NONE, W_SUM>();
    }
    if (inner.flush != 1) return nullptr;
    switch (product.way * 16 + inner.way) {
        case W_NONE * 16 + W_RZ: return loops<L, W_NONE, W_RZ>();
        case W_EXACT * 16 + W_RZ: return loops<L, W_EXACT, W_RZ>();
        case W_RZ * 16 + W_RZ: return loops<L, W_RZ, W_RZ>();
        case W_NONE * 16 + W_RNE: return loops<L, W_NONE, W_RNE>();
        case W_EXACT * 16 + W_RNE: return loops<L, W_EXACT, W_RNE>();
        case W_RNE * 16 + W_RNE: return loops<L, W_RNE, W_RNE>();
        case W_NONE * 16 + W_SR: return loops<L, W_NONE, W_SR>();
        case W_EXACT * 16 + W_SR: return loops<L, W_EXACT, W_SR>();
        case W_SR * 16 + W_SR: return loops<L, W_SR, W_SR>();
    }
    return nullptr;
    }
}

// The general loop, with the ways known that statistics are mostly asked of.
template <class L>
static auto find_steps(const Step<L>& product, const Step<L>& inner, bool count) {
    using Steps = void (*)(const Tile<L>&, int64_t, int64_t, const Step<L>&, const Step<L>&, typename L::T*, Statistics<L>*);
    Steps found = nullptr;
    if constexpr (L::ANY_WAY) {
        found = chunk_any<L>;
        if (count && !inner.guard) {
            switch (product.way * 16 + inner.way) {
                case W_NONE * 16 + W_RZ: return Steps(chunk_any<L, W_NONE, W_RZ>);
                case W_EXACT * 16 + W_RZ: return Steps(chunk_any<L, W_EXACT, W_RZ>);
                case W_RZ * 16 + W_RZ: return Steps(chunk_any<L, W_RZ, W_RZ>);
                case W_RNE * 16 + W_RNE: return Steps(chunk_any<L, W_RNE, W_RNE>);
                case W_NONE * 16 + W_FIXED_RZ: return Steps(chunk_any<L, W_NONE, W_FIXED_RZ>);
                case W_NONE * 16 + W_WHOLE: return Steps(chunk_any<L, W_NONE, W_WHOLE>);
            }
        }
    }
    return found;
}

// All chunks of a tile; `out` holds the outer sums [ROWS][WIDTH] at the end.
template <class L>
static void run_tile(const Tile<L>& t, const Step<L>& product, const Step<L>& inner, const Step<L>& outer,
                     const fmaq_lane_step& bounds_product, const fmaq_lane_step& bounds_inner, bool underflows,
                     typename L::T* out, Statistics<L>* s) {
    using V = typename L::V;
    using T = typename L::T;
    constexpr int R = L::ROWS;
    alignas(64) T sums[R * VECTORS * L::W];
    for (int j = 0; j < R * VECTORS; j++) L::store(out + j * L::W, L::set(0));
    const auto* table = s ? nullptr : find_loops<L>(product, inner);
    [[maybe_unused]] const auto steps = find_steps<L>(product, inner, s != nullptr);
    int64_t c = 0;
    for (int64_t from = 0; from < t.length; from += t.chunk, c++) {
        const int64_t to = from + t.chunk < t.length ? from + t.chunk : t.length;
        if (table) {
            const double bound = static_cast<double>(t.row_norms[2 * c]) * t.lane_norms[2 * c];
            const double largest = static_cast<double>(t.row_norms[2 * c + 1]) * t.lane_norms[2 * c + 1];
            const bool may_saturate = is_fixed(inner.way) ? !inner.wrap
                                      : inner.sat && !stays_below(bound, bounds_inner.growth, bounds_inner.limit);
            const bool may_overflow = product.sat && !stays_below(largest, bounds_product.growth, bounds_product.limit);
            table[may_overflow ? 2 : underflows ? 1 : 0][may_saturate](t, from, to, product, inner, sums);
        } else if constexpr (L::ANY_WAY) {
            steps(t, from, to, product, inner, sums, s);
        }
        for (int r = 0; r < R; r++) {
            for (int v = 0; v < VECTORS; v++) {
                V p = L::load(sums + (r * VECTORS + v) * L::W);
                V acc = L::load(out + (r * VECTORS + v) * L::W);
                if constexpr (!L::ANY_WAY) {
                    acc = finish<W_RZ, L>(L::fma(p, outer.scale, acc), outer, p, outer.sat);
                } else if (outer.same_fixed && !s) {
                    const V total = L::add_fixed(acc, p);
                    acc = outer.wrap ? L::wrap_fixed(total, outer.bits, outer.modulus)
                                     : L::limit_fixed(total, outer.low, outer.high);
                } else {
                    if (is_fixed(inner.way)) p = L::from_fixed(p);
                    V word = L::set(0);
                    if (outer.way == W_SR)
                        word = L::xor_(L::set(t.row_words[2][c * R + r]),
                                       L::load(t.lane_words[2] + (c * VECTORS + v) * L::W));
                    if (outer.way == W_RZ && outer.flush == 1 && !outer.guard && !s)
                        acc = finish<W_RZ, L>(L::fma(p, outer.scale, acc), outer, word, outer.sat);
                    else
                        acc = add_any<L>(acc, p, outer, word, s, O_OVER, r, v);
                    if (s) s->extend(1, r, v, is_fixed(outer.way) ? L::from_fixed(acc) : acc);
                }
                L::store(out + (r * VECTORS + v) * L::W, acc);
            }
        }
    }
    if constexpr (L::ANY_WAY)
        if (is_fixed(outer.way))
            for (int j = 0; j < R * VECTORS; j++) L::store(out + j * L::W, L::from_fixed(L::load(out + j * L::W)));
}

}  // namespace fmaq

// Operands and marks of tiles in a vector type; see backward.h for what is asked of it.
#pragma once
#include <cstdint>

#include "mark_tile.h"
#include "pack.h"

namespace fmaq {
namespace {

template <class L>
struct LaneMarks {
    static constexpr int ROWS = L::ROWS, WIDTH = VECTORS * L::W;
    using Shared = Packed<L>;
    using Local = Packed<L>;
    const fmaq_job& job;
    const Rule rule;
    const bool lanes_are_x;
    const int64_t x_words, chunks;
    const Step<L> product, inner, outer;

    LaneMarks(const fmaq_job& j, const fmaq_gradient& g, bool x_lanes, int64_t words)
        : job(j), rule(g), lanes_are_x(x_lanes), x_words(words), chunks((j.k + j.chunk - 1) / j.chunk),
          product(j.lane_product), inner(j.lane_inner), outer(j.lane_outer) {}

    Side side(bool is_x, int64_t b) const {
        if (is_x)
            return {job.x, job.x_double, true, job.m, job.x_k, job.x_scale, job.x_norm, b * job.x_batch,
                    x_words + b * job.m_words};
        return {job.w, job.w_double, false, job.n, job.w_k, job.w_scale, job.w_norm, b * job.w_batch,
                job.n_first + b * job.n_words};
    }
    bool reserve(Packed<L>& p, int64_t tiles, int width) const {
        const fmaq_lane_step* steps[3] = {&job.lane_product, &job.lane_inner, &job.lane_outer};
        const size_t lines = static_cast<size_t>(tiles * width);
        if (!p.numbers.get(lines * job.k) || !p.norms.get(static_cast<size_t>(2 * tiles * chunks))) return false;
        for (int stage = 0; stage < 3; stage++)
            if (steps[stage]->way == W_SR && !p.words[stage].get(lines * (stage == OUTER ? chunks : job.k))) return false;
        return true;
    }
    bool reserve(Shared& shared, int64_t tiles) const { return reserve(shared, tiles, ROWS); }
    bool reserve(Local& local) const { return reserve(local, 1, WIDTH); }

    void pack_rows(int64_t b, Shared& shared, int64_t tiles, bool by_all_threads) const {
        pack_tiles<L, ROWS>(job, side(!lanes_are_x, b), 0, tiles, shared, by_all_threads);
    }
    void pack_lanes(int64_t b, int64_t first, Local& local, float* numbers) const {
        pack_tiles<L, WIDTH>(job, side(lanes_are_x, b), first, 1, local, false);
        unscaled(local.numbers.data, job.k * WIDTH, lanes_are_x, numbers);
    }
    void row_numbers(const Shared& shared, int64_t, int64_t tile, float* numbers) const {
        unscaled(shared.numbers.data + tile * job.k * ROWS, job.k * ROWS, !lanes_are_x, numbers);
    }
    // Scales are powers of two that leave operands normal numbers.
    void unscaled(const typename L::T* from, int64_t count, bool is_x, float* to) const {
        const auto factor = static_cast<typename L::T>(1 / (is_x ? job.x_scale : job.w_scale));
        for (int64_t j = 0; j < count; j++) to[j] = static_cast<float>(from[j] * factor);
    }

    void mark(const Shared& shared, int64_t, int64_t tile, int64_t, Local& local, uint8_t* bits, uint8_t* outer_bits,
              uint8_t* clear) const {
        Tile<L> t;
        t.rows = shared.numbers.data + tile * job.k * ROWS;
        t.lanes = local.numbers.data;
        for (int stage = 0; stage < 3; stage++) {
            t.row_words[stage] = shared.words[stage].data + tile * (stage == OUTER ? chunks : job.k) * ROWS;
            t.lane_words[stage] = local.words[stage].data;
        }
        t.row_norms = shared.norms.data + 2 * tile * chunks;
        t.lane_norms = local.norms.data;
        t.length = job.k;
        t.chunk = job.chunk;
        Mode mode(Mode::TOWARD_ZERO_FLUSHED);
        mark_tile<L>(t, product, inner, outer, job.lane_product, job.lane_inner, job.underflows, job.lane_inner.scale,
                     job.lane_outer.scale, rule, bits, outer_bits, clear);
    }
    bool lost(const Local&) const { return false; }
};

}  // namespace
}  // namespace fmaq

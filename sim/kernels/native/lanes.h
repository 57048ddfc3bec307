// Products in vectors of floats: packing, tiles and threads.
#pragma once
#include <cmath>
#include <cstdint>
#include <new>

#include "pack.h"

namespace fmaq {
namespace {

template <class L>
void unpack_tile(const fmaq_job& job, int64_t batch, bool lanes_are_x, int64_t row, int64_t lane,
                 const typename L::T* out) {
    constexpr int WIDTH = VECTORS * L::W;
    const int64_t rows = lanes_are_x ? job.n : job.m, lanes = lanes_are_x ? job.m : job.n;
    const int filled = lanes - lane < WIDTH ? static_cast<int>(lanes - lane) : WIDTH;
    const float scale = static_cast<float>(job.out_scale * job.out_scale_rest);
    int64_t offsets[WIDTH];
    for (int j = 0; j < filled; j++) offsets[j] = lanes_are_x ? out_offset(job, lane + j) : (lane + j) * job.out_n;
    for (int r = 0; r < L::ROWS && row + r < rows; r++, out += WIDTH) {
        const int64_t base =
            batch * job.out_batch + (lanes_are_x ? (row + r) * job.out_n : out_offset(job, row + r));
        // A sum of -0 becomes +0.
        if (job.out_double) {
            double* to = static_cast<double*>(job.out) + base;
            for (int j = 0; j < filled; j++) to[offsets[j]] = static_cast<double>(out[j]) * job.out_scale * job.out_scale_rest + 0.0;
        } else {
            float* to = static_cast<float*>(job.out) + base;
            if (job.plain_out && filled == WIDTH && offsets[WIDTH - 1] - offsets[0] == WIDTH - 1) {
                alignas(64) typename L::Wide wide[WIDTH];
                L::template widen<WIDTH>(out, wide);
                to += offsets[0];
                for (int j = 0; j < WIDTH; j++) to[j] = static_cast<float>(wide[j]) * scale + 0.0f;
            } else {
                for (int j = 0; j < filled; j++)
                    to[offsets[j]] =
                        static_cast<float>(static_cast<double>(out[j]) * job.out_scale * job.out_scale_rest + 0.0);
            }
        }
    }
}

template <class L>
void gather_statistics(const fmaq_job& job, bool lanes_are_x, int64_t row, int64_t lane, const Statistics<L>& s) {
    const int64_t N = job.n;
    const int64_t rows = lanes_are_x ? job.n : job.m, lanes = lanes_are_x ? job.m : job.n;
    const int shifts[2] = {job.inner_shift, job.outer_shift};
#pragma omp critical
    for (int r = 0; r < L::ROWS && row + r < rows; r++)
        for (int v = 0; v < VECTORS; v++)
            for (int j = 0; j < L::W && lane + v * L::W + j < lanes; j++) {
                const int64_t n = lanes_are_x ? row + r : lane + v * L::W + j;
                for (int c = 0; c < COUNTERS; c++) job.counts[c * N + n] += s.counts[c][r][v][j];
                for (int place = 0; place < 2; place++) {
                    const double low = std::ldexp(static_cast<double>(s.low[place][r][v][j]), -shifts[place]);
                    const double high = std::ldexp(static_cast<double>(s.high[place][r][v][j]), -shifts[place]);
                    if (low < job.low[place * N + n]) job.low[place * N + n] = low;
                    if (high > job.high[place * N + n]) job.high[place * N + n] = high;
                }
            }
}

template <class L>
int run_lanes(const fmaq_job& job) {
    constexpr int ROWS = L::ROWS, WIDTH = VECTORS * L::W;
    const auto padded = [](int64_t lanes) { return (lanes + WIDTH - 1) / WIDTH * WIDTH; };
    // Pixels lie next to each other in memory; else the choice with less padding, columns if equal.
    const bool is_convolution = job.pixel_columns != job.m || job.x_row;
    const bool lanes_are_x = is_convolution || padded(job.m) * job.n < padded(job.n) * job.m;
    const int64_t rows = lanes_are_x ? job.n : job.m, lanes = lanes_are_x ? job.m : job.n;
    const int64_t chunks = (job.k + job.chunk - 1) / job.chunk;
    const int64_t all_tiles = (rows + ROWS - 1) / ROWS, panels = (lanes + WIDTH - 1) / WIDTH;
    int64_t block = (int64_t(16) << 20) / (job.k * ROWS * static_cast<int64_t>(sizeof(typename L::T)) + 1) + 1;
    if (block > all_tiles) block = all_tiles;
    bool no_memory = false;

    const auto side = [&](bool is_x, int64_t b) -> Side {
        if (is_x)
            return {job.x, job.x_double, true, job.m, job.x_k, job.x_scale, job.x_norm, b * job.x_batch, b * job.m_words};
        return {job.w, job.w_double, false, job.n, job.w_k, job.w_scale, job.w_norm, b * job.w_batch,
                job.n_first + b * job.n_words};
    };
    const Step<L> product(job.lane_product), inner(job.lane_inner), outer(job.lane_outer);

    // One batch, by the threads of the enclosing region if `shared`, else by one of them.
    const auto compute = [&](int64_t b, Packed<L>& packed_rows, Packed<L>& packed_lanes, Statistics<L>* statistics,
                             bool shared) {
        const Side row_side = side(!lanes_are_x, b), lane_side = side(lanes_are_x, b);
        for (int64_t start = 0; start < all_tiles; start += block) {
            const int64_t tiles = all_tiles - start < block ? all_tiles - start : block;
            if (!pack_tiles<L, ROWS>(job, row_side, start * ROWS, tiles, packed_rows, shared)) {
                no_memory = true;
                return;
            }
            int64_t packed_panel = -1;
            const auto work = [&](int64_t panel, int64_t from, int64_t to) {
                if (panel != packed_panel) {
                    if (!pack_tiles<L, WIDTH>(job, lane_side, panel * WIDTH, 1, packed_lanes, false)) {
                        no_memory = true;
                        return;
                    }
                    packed_panel = panel;
                }
                alignas(64) typename L::T out[ROWS * WIDTH];
                for (int64_t tile = from; tile < to; tile++) {
                    Tile<L> t;
                    t.rows = packed_rows.numbers.data + tile * job.k * ROWS;
                    t.lanes = packed_lanes.numbers.data;
                    for (int stage = 0; stage < 3; stage++) {
                        const int64_t steps = stage == OUTER ? chunks : job.k;
                        t.row_words[stage] = packed_rows.words[stage].data + tile * steps * ROWS;
                        t.lane_words[stage] = packed_lanes.words[stage].data;
                    }
                    t.row_norms = packed_rows.norms.data + 2 * tile * chunks;
                    t.lane_norms = packed_lanes.norms.data;
                    t.length = job.k;
                    t.chunk = job.chunk;
                    if (statistics) statistics->clear();
                    {
                        Mode mode(Mode::TOWARD_ZERO_FLUSHED);
                        run_tile<L>(t, product, inner, outer, job.lane_product, job.lane_inner, job.underflows, out,
                                    statistics);
                    }
                    const int64_t row = (start + tile) * ROWS;
                    unpack_tile<L>(job, b, lanes_are_x, row, panel * WIDTH, out);
                    if (statistics)
                        gather_statistics<L>(job, lanes_are_x, row, panel * WIDTH, *statistics);
                }
            };
            if (!shared) {
                for (int64_t panel = 0; panel < panels; panel++) work(panel, 0, tiles);
                continue;
            }
            // Few panels are cut into groups of rows, so that there is work for every thread.
            int64_t groups = 1;
            while (panels * groups < 4 * threads_of(job) && tiles / groups > 16) groups *= 2;
#pragma omp for schedule(dynamic, 1)
            for (int64_t task = 0; task < panels * groups; task++) {
                const int64_t panel = task / groups, group = task % groups;
                work(panel, tiles * group / groups, tiles * (group + 1) / groups);
            }
        }
    };

    if (job.batch >= 2 * threads_of(job)) {
#pragma omp parallel num_threads(threads_of(job))
        {
            Mode mode(Mode::DEFAULT);
            Packed<L> packed_rows, packed_lanes;
            Statistics<L>* statistics = job.counts ? new (std::nothrow) Statistics<L> : nullptr;
            if (job.counts && !statistics) no_memory = true;
#pragma omp for schedule(dynamic, 1)
            for (int64_t b = 0; b < job.batch; b++)
                if (!no_memory) compute(b, packed_rows, packed_lanes, statistics, false);
            delete statistics;
        }
        return no_memory ? 2 : 0;
    }
    Packed<L> packed_rows;  // of all threads
    const fmaq_lane_step* steps[3] = {&job.lane_product, &job.lane_inner, &job.lane_outer};
    const size_t lines = static_cast<size_t>(block) * ROWS;
    if (!packed_rows.numbers.get(lines * job.k) || !packed_rows.norms.get(static_cast<size_t>(2 * block * chunks))) return 2;
    for (int stage = 0; stage < 3; stage++)
        if (steps[stage]->way == W_SR && !packed_rows.words[stage].get(lines * (stage == OUTER ? chunks : job.k)))
            return 2;
#pragma omp parallel num_threads(threads_of(job))
    {
        Mode mode(Mode::DEFAULT);
        Packed<L> packed_lanes;
        Statistics<L>* statistics = job.counts ? new (std::nothrow) Statistics<L> : nullptr;
        if (job.counts && !statistics) no_memory = true;
#pragma omp barrier
        for (int64_t b = 0; b < job.batch && !no_memory; b++) compute(b, packed_rows, packed_lanes, statistics, true);
        delete statistics;
    }
    return no_memory ? 2 : 0;
}

}  // namespace
}  // namespace fmaq

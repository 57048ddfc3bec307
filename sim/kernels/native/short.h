// Saturating integers of at most 16 bits, whose products have as many: 32 to a vector, or 16.
#pragma once
#include <cstdint>

#include "pack.h"

namespace fmaq {
namespace {

template <bool SHIFTED>
__attribute__((noinline)) void tile_short(const int16_t* rows, const int16_t* lanes, int64_t length, int64_t chunk,
                                          int low_limit, int high_limit, int shift, int16_t* out) {
    using V = Short::V;
    constexpr int R = Short::ROWS;
    const V low = Short::set(low_limit), high = Short::set(high_limit), whole = Short::set(-(1 << shift));
    V total[R][VECTORS];
    for (auto& row : total)
        for (V& sum : row) sum = Short::set(0);
    for (int64_t from = 0; from < length; from += chunk) {
        const int64_t to = from + chunk < length ? from + chunk : length;
        V acc[R][VECTORS];
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) acc[r][v] = Short::set(0);
        for (int64_t k = from; k < to; k++) {
            V w[VECTORS];
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) w[v] = Short::load(lanes + (k * VECTORS + v) * Short::W);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) {
                const V x = Short::pair(rows + (k * R + r) * 2);
#pragma GCC unroll 2
                for (int v = 0; v < VECTORS; v++) {
                    acc[r][v] = Short::add(acc[r][v], Short::mul(x, w[v]));
                    if constexpr (!SHIFTED) acc[r][v] = Short::limit(acc[r][v], low, high);
                }
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; v++) {
                // Bits below the shift are ones after saturation at the top: they are no part of the sum.
                total[r][v] = Short::add(total[r][v], acc[r][v] & whole) & whole;
                if constexpr (!SHIFTED) total[r][v] = Short::limit(total[r][v], low, high);
            }
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < VECTORS; v++) Short::store(out + (r * VECTORS + v) * Short::W, total[r][v]);
}

// Lanes as integers, out[k][WIDTH].
template <int WIDTH, class S>
void pack_short(const fmaq_job& job, const Side& side, const Lines<WIDTH>& lines, const S* data, int shift, int16_t* out) {
    const S factor = static_cast<S>(side.scale * (side.is_x ? 1 : 1 << shift));
    alignas(64) S line[WIDTH] = {};
    for (int64_t k = 0; k < job.k; k++, out += WIDTH) {
        lines.load(data + side.k[k], line);
        for (int j = 0; j < WIDTH; j++) out[j] = static_cast<int16_t>(static_cast<int32_t>(line[j] * factor));
    }
}

int run_short(const fmaq_job& job) {
    constexpr int ROWS = Short::ROWS, WIDTH = VECTORS * Short::W;
    const auto padded = [](int64_t lanes) { return (lanes + WIDTH - 1) / WIDTH * WIDTH; };
    const bool is_convolution = job.pixel_columns != job.m || job.x_row;
    const bool lanes_are_x = is_convolution || padded(job.m) * job.n < padded(job.n) * job.m;
    const int64_t rows = lanes_are_x ? job.n : job.m, lanes = lanes_are_x ? job.m : job.n;
    const int64_t tiles = (rows + ROWS - 1) / ROWS, panels = (lanes + WIDTH - 1) / WIDTH;
    const bool shifted = job.shift >= 0;
    const int shift = shifted ? job.shift : 0;
    const int high = (1 << (job.inner.man_bits - 1)) - 1;
    Buffer<int16_t> row_buffer;
    int16_t* packed_rows = row_buffer.get(static_cast<size_t>(tiles * job.k * ROWS * 2));
    if (!packed_rows) return 2;
    bool no_memory = false;
    const auto number = [&](const Side& s, int64_t at) {
        const double value = operand_at(s.data, s.is_double, at);
        return static_cast<int16_t>(static_cast<int>(value * s.scale) * (s.is_x ? 1 : 1 << shift));
    };
    for (int64_t b = 0; b < job.batch; b++) {
        const Side x = {job.x, job.x_double, true, job.m, job.x_k, job.x_scale, 1, b * job.x_batch, 0};
        const Side w = {job.w, job.w_double, false, job.n, job.w_k, job.w_scale, 1, b * job.w_batch, 0};
        const Side& row_side = lanes_are_x ? w : x;
        const Side& lane_side = lanes_are_x ? x : w;
#pragma omp parallel num_threads(threads_of(job))
        {
            Mode mode(Mode::DEFAULT);
            Buffer<int16_t> lane_buffer;
            int16_t* packed = lane_buffer.get(static_cast<size_t>(job.k * WIDTH));
            if (!packed) no_memory = true;
#pragma omp for schedule(static)
            for (int64_t tile = 0; tile < tiles; tile++)
                for (int r = 0; r < ROWS; r++) {
                    const int64_t row = tile * ROWS + r;
                    const int64_t at = row < rows ? offset_of(job, row_side, row) : 0;
                    int16_t* to = packed_rows + (tile * job.k * ROWS + r) * 2;
                    for (int64_t k = 0; k < job.k; k++, to += 2 * ROWS)
                        to[0] = to[1] = row < rows ? number(row_side, at + row_side.k[k]) : int16_t(0);
                }
            int64_t groups = 1;
            while (panels * groups < 4 * threads_of(job) && tiles / groups > 16) groups *= 2;
            int64_t packed_panel = -1;
#pragma omp for schedule(dynamic, 1)
            for (int64_t task = 0; task < panels * groups; task++) {
                const int64_t panel = task / groups, group = task % groups, first = panel * WIDTH;
                if (no_memory) continue;
                const int filled = lanes - first < WIDTH ? static_cast<int>(lanes - first) : WIDTH;
                if (panel != packed_panel) {
                    const Lines<WIDTH> lines_of(job, lane_side, first);
                    if (lane_side.is_double) pack_short(job, lane_side, lines_of, static_cast<const double*>(lane_side.data), shift, packed);
                    else pack_short(job, lane_side, lines_of, static_cast<const float*>(lane_side.data), shift, packed);
                    packed_panel = panel;
                }
                alignas(64) int16_t out[ROWS * WIDTH];
                for (int64_t tile = tiles * group / groups; tile < tiles * (group + 1) / groups; tile++) {
                    const int16_t* from = packed_rows + tile * job.k * ROWS * 2;
                    if (shifted) tile_short<true>(from, packed, job.k, job.chunk, 0, 0, shift, out);
                    else tile_short<false>(from, packed, job.k, job.chunk, -high - 1, high, 0, out);
                    for (int r = 0; r < ROWS && tile * ROWS + r < rows; r++) {
                        const int64_t row = tile * ROWS + r;
                        const int64_t base = b * job.out_batch + (lanes_are_x ? row * job.out_n : out_offset(job, row));
                        const int64_t last = lanes_are_x ? out_offset(job, first + filled - 1) : (first + filled - 1) * job.out_n;
                        const int64_t begin = lanes_are_x ? out_offset(job, first) : first * job.out_n;
                        if (job.plain_out && !job.out_double && filled == WIDTH && last - begin == WIDTH - 1) {
                            float* to = static_cast<float*>(job.out) + base + begin;
                            const float unit = static_cast<float>(job.out_scale);
                            for (int j = 0; j < WIDTH; j++) to[j] = static_cast<float>(out[r * WIDTH + j] >> shift) * unit;
                            continue;
                        }
                        for (int j = 0; j < filled; j++) {
                            const int64_t to = base + (lanes_are_x ? out_offset(job, first + j) : (first + j) * job.out_n);
                            const double value = static_cast<double>(out[r * WIDTH + j] >> shift) * job.out_scale * job.out_scale_rest;
                            if (job.out_double) static_cast<double*>(job.out)[to] = value;
                            else static_cast<float*>(job.out)[to] = static_cast<float>(value);
                        }
                    }
                }
            }
        }
    }
    return no_memory ? 2 : 0;
}

}  // namespace
}  // namespace fmaq

// Gradients of products: tiles' masks are computed anew, used while they are in cache, and forgotten.
//
// A panel of lanes belongs to one thread, which goes through all tiles of rows. The gradient of its lanes is its own;
// to that of the rows of a tile every panel adds in turn, so sums are the same for any number of threads.
//
// What a tile's masks come from, LaneMarks or ScalarMarks, has
//     reserve        memory: for the rows of a batch, for a panel; false: there is none
//     pack_rows      all rows of a batch, by the threads of the enclosing region or by one
//     pack_lanes     a panel, and its numbers as float32 [k][WIDTH]
//     row_numbers    of a tile, [k][ROWS]
//     mark           bits of the steps of a tile that pass; see finish_marks
//     lost           whether a sum had more than float64's 53 bits where it was looked at
#pragma once
#include <sched.h>

#include <atomic>
#include <cstdint>
#include <cstring>

#include "job.h"
#include "marks.h"
#include "masked.h"

namespace fmaq {
namespace {

// Whose turn it is at each tile. Panels are begun in ascending order, so the first that is not done never waits.
struct Turns {
    Buffer<std::atomic<int64_t>> done;  // panels that have added to a tile, since the beginning
    std::atomic<int64_t> next{0};
    int64_t before = 0;  // panels of earlier passes

    bool reserve(int64_t tiles) {
        if (!done.get(static_cast<size_t>(tiles))) return false;
        for (int64_t tile = 0; tile < tiles; tile++) done.data[tile].store(0);
        return true;
    }
    void wait(int64_t tile, int64_t panel) const {
        for (int spins = 0; done.data[tile].load(std::memory_order_acquire) != before + panel; spins++)
            if (spins > 64) sched_yield();
    }
    void pass(int64_t tile, int64_t panel) { done.data[tile].store(before + panel + 1, std::memory_order_release); }
};

// What a thread needs for one panel and one tile.
template <class M>
struct Desk {
    typename M::Local local;
    Buffer<float> lanes, rows, of_lanes, of_rows;
    Buffer<uint8_t> bits, outer, clear;

    bool reserve(const M& maker, int64_t length, int64_t chunk) {
        const size_t k = static_cast<size_t>((length + BLOCK - 1) / BLOCK * BLOCK);
        const size_t chunks = static_cast<size_t>((length + chunk - 1) / chunk);
        constexpr size_t line = M::ROWS * M::WIDTH / 8;
        return maker.reserve(local) && lanes.get(k * M::WIDTH) && of_lanes.get(k * M::WIDTH) && rows.get(k * M::ROWS) &&
               of_rows.get(k * M::ROWS) && bits.get(k * line) && outer.get(chunks * line) && clear.get(chunks);
    }
};

// One batch's panels of the lanes first .. last - 1.
template <class M>
struct Pass {
    static constexpr int ROWS = M::ROWS, WIDTH = M::WIDTH;
    const fmaq_job& job;
    const fmaq_gradient& g;
    const M& maker;
    const int64_t batch, first, last;
    float* kept;        // gradients of lanes [panel][k][WIDTH], or null: written where they belong
    const float* of_out;  // of the image or matrix of lane 0

    int64_t rows() const { return maker.lanes_are_x ? job.n : job.m; }
    int64_t lanes() const { return maker.lanes_are_x ? job.m : job.n; }
    int64_t tiles() const { return (rows() + ROWS - 1) / ROWS; }
    int64_t panels() const { return (last - first + WIDTH - 1) / WIDTH; }

    int64_t out_at(bool is_x, int64_t i) const { return is_x ? out_offset(job, i) : i * job.out_n; }
    int64_t gradient_at(bool is_x, int64_t i) const {
        return is_x ? batch * job.x_batch + x_offset(job, i) : batch * job.w_batch + i * job.w_n;
    }

    // Upstream gradients of a tile, zeros past its ends; whether there is any that is not zero.
    bool gather(int64_t tile, const int64_t* offsets, int filled, float* grad) const {
        uint32_t any = 0;
        const bool dense = filled == WIDTH && offsets[WIDTH - 1] - offsets[0] == WIDTH - 1;
        std::memset(grad, 0, sizeof(float) * ROWS * WIDTH);
        for (int r = 0; r < ROWS && tile * ROWS + r < rows(); r++) {
            const float* from = of_out + batch * job.out_batch + out_at(!maker.lanes_are_x, tile * ROWS + r);
            if (dense) std::memcpy(grad + r * WIDTH, from + offsets[0], sizeof(float) * WIDTH);
            else
                for (int j = 0; j < filled; j++) grad[r * WIDTH + j] = from[offsets[j]];
        }
        for (int j = 0; j < ROWS * WIDTH; j++) {
            uint32_t number;
            std::memcpy(&number, grad + j, 4);
            any |= number & 0x7fffffffu;
        }
        return any != 0;
    }

    void write_masks(const Desk<M>& desk, int64_t tile, int64_t lane, int filled) const {
        for (int r = 0; r < ROWS && tile * ROWS + r < rows(); r++)
            for (int j = 0; j < filled; j++) {
                const int64_t row = tile * ROWS + r;
                const int64_t m = maker.lanes_are_x ? lane + j : row, n = maker.lanes_are_x ? row : lane + j;
                uint8_t* to = g.masks + ((batch * job.m + m) * job.n + n) * job.k;
                for (int64_t k = 0; k < job.k; k++) {
                    const uint8_t byte = desk.bits.data[(k * ROWS + r) * (WIDTH / 8) + j / 8];
                    to[g.index[k]] = desk.clear.data[k / job.chunk] | (byte >> j % 8 & 1);
                }
            }
    }

    void add_tile(const MaskedTile<ROWS, WIDTH>& t, const uint8_t* clear, float* of_lanes, float* of_rows) const {
        for (int64_t k = 0; k < job.k; k += BLOCK) {
            const int64_t to = k + BLOCK < job.k ? k + BLOCK : job.k;
            bool all = true;
            for (int64_t c = k / job.chunk; c <= (to - 1) / job.chunk; c++) all = all && clear[c];
            if (all) {
                add_to_lanes<ROWS, WIDTH, false>(t, k, to, of_lanes);
                row_sums<ROWS, WIDTH, false>(t, k, to, of_rows + k * ROWS);
            } else {
                add_to_lanes<ROWS, WIDTH, true>(t, k, to, of_lanes);
                row_sums<ROWS, WIDTH, true>(t, k, to, of_rows + k * ROWS);
            }
        }
    }

    // of_rows: [block][ROWS][BLOCK].
    void add_rows(int64_t tile, const float* of_rows) const {
        const bool is_x = !maker.lanes_are_x;
        float* gradient = is_x ? g.of_x : g.of_w;
        const int64_t* places = is_x ? g.x_k : g.w_k;
        for (int64_t k = 0; k < job.k; k += BLOCK) {
            const int64_t* place = places + k;
            const int64_t count = k + BLOCK < job.k ? BLOCK : job.k - k;
            bool dense = count == BLOCK;
            for (int64_t j = 1; j < count; j++) dense = dense && place[j] == place[j - 1] + 1;
            for (int r = 0; r < ROWS && tile * ROWS + r < rows(); r++) {
                float* to = gradient + gradient_at(is_x, tile * ROWS + r);
                const float* from = of_rows + k * ROWS + r * BLOCK;
                if (dense)
                    for (int j = 0; j < BLOCK; j++) to[place[0] + j] += from[j];
                else
                    for (int64_t j = 0; j < count; j++) to[place[j]] += from[j];
            }
        }
    }

    void write_lanes(int64_t lane, int filled, const float* of_lanes) const {
        const bool is_x = maker.lanes_are_x;
        float* gradient = is_x ? g.of_x : g.of_w;
        const int64_t* places = is_x ? g.x_k : g.w_k;
        const bool dense = !is_x && job.w_n == 1 && filled == WIDTH;
        for (int64_t k = 0; k < job.k; k++) {
            const float* from = of_lanes + k * WIDTH;
            if (dense) std::memcpy(gradient + gradient_at(is_x, lane) + places[k], from, sizeof(float) * WIDTH);
            else
                for (int j = 0; j < filled; j++) gradient[gradient_at(is_x, lane + j) + places[k]] = from[j];
        }
    }

    void panel(int64_t p, const typename M::Shared& shared, Desk<M>& desk, Turns* turns) const {
        const int64_t lane = first + p * WIDTH;
        const int filled = last - lane < WIDTH ? static_cast<int>(last - lane) : WIDTH;
        int64_t offsets[WIDTH];
        for (int j = 0; j < filled; j++) offsets[j] = out_at(maker.lanes_are_x, lane + j);
        maker.pack_lanes(batch, lane, desk.local, desk.lanes.data);
        float* of_lanes = kept ? kept + p * job.k * WIDTH : desk.of_lanes.data;
        if (!g.masks) std::memset(of_lanes, 0, sizeof(float) * static_cast<size_t>(job.k * WIDTH));
        alignas(64) float grad[ROWS * WIDTH];
        for (int64_t tile = 0; tile < tiles(); tile++) {
            if (g.masks) {
                maker.mark(shared, batch, tile, lane, desk.local, desk.bits.data, desk.outer.data, desk.clear.data);
                write_masks(desk, tile, lane, filled);
                continue;
            }
            const bool any = gather(tile, offsets, filled, grad);
            if (any) {
                maker.mark(shared, batch, tile, lane, desk.local, desk.bits.data, desk.outer.data, desk.clear.data);
                maker.row_numbers(shared, batch, tile, desk.rows.data);
                const MaskedTile<ROWS, WIDTH> t = {grad, desk.rows.data, desk.lanes.data, desk.bits.data};
                add_tile(t, desk.clear.data, of_lanes, desk.of_rows.data);
            }
            if (turns) turns->wait(tile, p);
            if (any) add_rows(tile, desk.of_rows.data);
            if (turns) turns->pass(tile, p);
        }
        if (!kept && !g.masks) write_lanes(lane, filled, of_lanes);
    }

    // By all threads of the enclosing region, or by one where there are no turns.
    void run(typename M::Shared& shared, Desk<M>& desk, Turns* turns) const {
        maker.pack_rows(batch, shared, tiles(), turns != nullptr);
        if (!turns) {
            for (int64_t p = 0; p < panels(); p++) panel(p, shared, desk, nullptr);
            return;
        }
#pragma omp barrier
        for (int64_t p = turns->next.fetch_add(1); p < panels(); p = turns->next.fetch_add(1)) panel(p, shared, desk, turns);
#pragma omp barrier
#pragma omp single
        {
            turns->next.store(0);
            turns->before += panels();
        }
    }
};

// Products of matrices, one for each of a batch.
template <class M>
int matrices_backward(const fmaq_job& job, const fmaq_gradient& g) {
    const auto padded = [](int64_t lanes) { return (lanes + M::WIDTH - 1) / M::WIDTH * M::WIDTH; };
    const M maker(job, g, padded(job.m) * job.n < padded(job.n) * job.m, 0);
    const int64_t lanes = maker.lanes_are_x ? job.m : job.n;
    const auto pass = [&](int64_t b) { return Pass<M>{job, g, maker, b, 0, lanes, nullptr, g.of_out}; };
    const bool apart = job.batch >= 2 * threads_of(job);
    typename M::Shared shared{};
    Turns turns;
    std::atomic<bool> no_memory{false}, lost{false};
    if (!turns.reserve(pass(0).tiles()) || (!apart && !maker.reserve(shared, pass(0).tiles()))) return 2;
#pragma omp parallel num_threads(threads_of(job))
    {
        Mode mode(Mode::DEFAULT);
        typename M::Shared own{};
        Desk<M> desk;
        if (!desk.reserve(maker, job.k, job.chunk) || (apart && !maker.reserve(own, pass(0).tiles()))) no_memory = true;
#pragma omp barrier
        if (!no_memory && apart) {
#pragma omp for schedule(dynamic, 1)
            for (int64_t b = 0; b < job.batch; b++) pass(b).run(own, desk, nullptr);
        } else if (!no_memory) {
            for (int64_t b = 0; b < job.batch; b++) pass(b).run(shared, desk, &turns);
        }
        if (maker.lost(desk.local)) lost = true;
    }
    return no_memory ? 2 : lost ? 1 : 0;
}

}  // namespace
}  // namespace fmaq

// Operands packed for tiles: one as rows, whose numbers are broadcast, the other as lanes of vectors.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "job.h"
#include "tile.h"

namespace fmaq {
namespace {

struct Side {
    const void* data;
    int is_double;
    bool is_x;
    int64_t count;         // rows or columns
    const int64_t* k;      // offsets of the steps
    double scale, norm;
    int64_t base;          // of the batch
    int64_t words;         // index of the first row's words
};

int64_t offset_of(const fmaq_job& job, const Side& s, int64_t i) {
    return s.base + (s.is_x ? x_offset(job, i) : i * job.w_n);
}

template <int MOST, class T>
inline void copy_run(T* to, const T* from, int length) {
    // Of constant size, copies are single instructions.
    if constexpr (MOST >= 64) {
        if (length == 64) return static_cast<void>(std::memcpy(to, from, 64 * sizeof(T)));
    }
    if constexpr (MOST >= 32) {
        if (length == 32) return static_cast<void>(std::memcpy(to, from, 32 * sizeof(T)));
    }
    if constexpr (MOST >= 16) {
        if (length == 16) return static_cast<void>(std::memcpy(to, from, 16 * sizeof(T)));
    }
    if constexpr (MOST >= 8) {
        if (length == 8) return static_cast<void>(std::memcpy(to, from, 8 * sizeof(T)));
    }
    for (int j = 0; j < length; j++) to[j] = from[j];
}

// Where the lines first .. first + WIDTH - 1 of a side are, and the runs of them that are neighbours in memory.
template <int WIDTH>
struct Lines {
    int64_t at[WIDTH];
    int starts[WIDTH + 1], filled, runs = 0;

    Lines(const fmaq_job& job, const Side& side, int64_t first) {
        const int64_t left = side.count - first;
        filled = left < WIDTH ? static_cast<int>(left) : WIDTH;
        for (int j = 0; j < filled; j++) {
            at[j] = offset_of(job, side, first + j);
            if (j == 0 || at[j] != at[j - 1] + 1) starts[runs++] = j;
        }
        starts[runs] = filled;
    }

    template <class S>
    void load(const S* source, S* line) const {
        if (runs * 4 <= filled)
            for (int run = 0; run < runs; run++)
                copy_run<WIDTH>(line + starts[run], source + at[starts[run]], starts[run + 1] - starts[run]);
        else
            for (int j = 0; j < filled; j++) line[j] = source[at[j]];
    }
};

// Packs lines first .. first + WIDTH - 1 of a side as out[k][WIDTH]; those past the end are zero. For each
// chunk, norms has the largest root of the sum of squares and the largest magnitude of these lines, both over the
// largest magnitude of the operand.
template <class L, int WIDTH, class S>
void pack(const fmaq_job& job, const Side& side, const S* data, int64_t first, typename L::T* out, float* norms) {
    using Wide = typename L::Wide;
    using Both = std::conditional_t<(sizeof(S) > sizeof(Wide)), S, Wide>;
    const Lines<WIDTH> lines(job, side, first);
    const Both scale = static_cast<Both>(side.scale);
    const Wide norm = static_cast<Wide>(side.norm / side.scale);
    alignas(64) S line[WIDTH] = {};
    alignas(64) Wide scaled[WIDTH];
    alignas(64) float squares[WIDTH], most[WIDTH];
    for (int64_t from = 0; from < job.k; from += job.chunk, norms += 2) {
        const int64_t to = from + job.chunk < job.k ? from + job.chunk : job.k;
        for (int j = 0; j < WIDTH; j++) squares[j] = most[j] = 0;
        for (int64_t k = from; k < to; k++, out += WIDTH) {
            lines.load(data + side.k[k], line);
            for (int j = 0; j < WIDTH; j++) scaled[j] = static_cast<Wide>(static_cast<Both>(line[j]) * scale);
            L::template narrow<WIDTH>(scaled, out);
            for (int j = 0; j < WIDTH; j++) {
                const float part = static_cast<float>(scaled[j] * norm), magnitude = std::fabs(part);
                squares[j] += part * part;
                most[j] = most[j] > magnitude ? most[j] : magnitude;
            }
        }
        float square = 0, magnitude = 0;
        for (int j = 0; j < lines.filled; j++) {
            square = squares[j] > square ? squares[j] : square;
            magnitude = most[j] > magnitude ? most[j] : magnitude;
        }
        norms[0] = std::sqrt(square + 0x1p-100f) * (1 + 0x1p-12f);
        norms[1] = magnitude;
    }
}

template <class L, int WIDTH>
void pack(const fmaq_job& job, const Side& side, int64_t first, typename L::T* out, float* norms) {
    if (side.is_double)
        pack<L, WIDTH>(job, side, static_cast<const double*>(side.data), first, out, norms);
    else
        pack<L, WIDTH>(job, side, static_cast<const float*>(side.data), first, out, norms);
}

// Random words of the lines, at the bit position of the step that adds them.
template <class L>
void pack_words(const fmaq_job& job, const Side& side, int64_t first, int width, int stage,
                const fmaq_lane_step& step, int64_t steps, typename L::T* out) {
    const uint32_t key = word_key(job.seed, job.call, stage, side.is_x ? 0 : 1);
    const int up = L::BITS - 1 - step.man_bits - step.random_bits;
    uint32_t lines[64];
    for (int j = 0; j < width; j++) lines[j] = mix(key ^ static_cast<uint32_t>(side.words + first + j));
    auto* bits = reinterpret_cast<typename L::I*>(out);
    for (int64_t k = 0; k < steps; k++)
        for (int j = 0; j < width; j++)
            bits[k * width + j] = static_cast<typename L::I>(word_at(lines[j], static_cast<uint32_t>(k)) >>
                                                             (32 - step.random_bits))
                                  << up;
}

template <class L>
struct Packed {
    Buffer<typename L::T> numbers, words[3];
    Buffer<float> norms;
};

// Packs tiles of `width` lines; false without memory.
template <class L, int width>
bool pack_tiles(const fmaq_job& job, const Side& side, int64_t first, int64_t tiles, Packed<L>& p, bool shared) {
    const int64_t chunks = (job.k + job.chunk - 1) / job.chunk;
    const fmaq_lane_step* steps[3] = {&job.lane_product, &job.lane_inner, &job.lane_outer};
    const int64_t lengths[3] = {job.k, job.k, chunks};
    auto* numbers = p.numbers.data;
    if (!shared) {
        numbers = p.numbers.get(static_cast<size_t>(tiles * job.k * width));
        if (!numbers || !p.norms.get(static_cast<size_t>(2 * tiles * chunks))) return false;
        for (int stage = 0; stage < 3; stage++)
            if (steps[stage]->way == W_SR && !p.words[stage].get(static_cast<size_t>(tiles * lengths[stage] * width)))
                return false;
    }
    const auto one = [&](int64_t tile) {
        const int64_t line = first + tile * width;
        pack<L, width>(job, side, line, p.numbers.data + tile * job.k * width, p.norms.data + 2 * tile * chunks);
        for (int stage = 0; stage < 3; stage++)
            if (steps[stage]->way == W_SR)
                pack_words<L>(job, side, line, width, stage, *steps[stage], lengths[stage],
                              p.words[stage].data + tile * lengths[stage] * width);
    };
    if (shared) {
#pragma omp for schedule(static)
        for (int64_t tile = 0; tile < tiles; tile++) one(tile);
    } else {
        for (int64_t tile = 0; tile < tiles; tile++) one(tile);
    }
    return true;
}

}  // namespace
}  // namespace fmaq

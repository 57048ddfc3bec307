// Which steps let a gradient pass, in any configuration: one output at a time, by the steps on integers.
#pragma once
#include <cmath>
#include <cstdint>

#include "job.h"
#include "marks.h"
#include "scalar.h"

namespace fmaq {
namespace {

// Operands and marks of tiles; see backward.h for what is asked of it.
struct ScalarMarks {
    static constexpr int ROWS = 8, WIDTH = 32;
    using Shared = int;  // rows are read where they are
    struct Local {
        Buffer<Operand> rows, lanes;
        Buffer<uint8_t> inner, outer;  // of one output
        bool lost = false;
    };
    const fmaq_job& job;
    const fmaq_gradient& g;
    const Rule rule;
    const bool lanes_are_x;
    const int64_t x_words;

    ScalarMarks(const fmaq_job& j, const fmaq_gradient& gradient, bool x_lanes, int64_t words)
        : job(j), g(gradient), rule(gradient), lanes_are_x(x_lanes), x_words(words) {}

    bool reserve(Shared&, int64_t) const { return true; }
    bool reserve(Local& local) const {
        const size_t k = static_cast<size_t>(job.k);
        return local.rows.get(ROWS * k) && local.lanes.get(WIDTH * k) && local.inner.get(k) && local.outer.get(k);
    }
    void pack_rows(int64_t, Shared&, int64_t, bool) const {}

    // Numbers of a line in the order of places.
    template <class Each>
    void read(bool is_x, int64_t b, int64_t line, const Each& each) const {
        if (line >= (is_x ? job.m : job.n)) {
            for (int64_t k = 0; k < job.k; k++) each(k, 0.0);
            return;
        }
        const int64_t at = is_x ? b * job.x_batch + x_offset(job, line) : b * job.w_batch + line * job.w_n;
        for (int64_t k = 0; k < job.k; k++)
            each(k, is_x ? operand_at(job.x, job.x_double, at + g.x_k[k]) : operand_at(job.w, job.w_double, at + g.w_k[k]));
    }
    void pack_lanes(int64_t b, int64_t first, Local& local, float* numbers) const {
        for (int j = 0; j < WIDTH; j++)
            read(lanes_are_x, b, first + j, [&](int64_t k, double value) {
                local.lanes.data[j * job.k + k] = operand_of(value);
                numbers[k * WIDTH + j] = static_cast<float>(value);
            });
    }
    void row_numbers(const Shared&, int64_t b, int64_t tile, float* numbers) const {
        for (int r = 0; r < ROWS; r++)
            read(!lanes_are_x, b, tile * ROWS + r,
                 [&](int64_t k, double value) { numbers[k * ROWS + r] = static_cast<float>(value); });
    }

    bool marks(Sum before, const Unpacked& addend, Sum after, const fmaq_step& step, bool overflow, bool* lost) const {
        if (rule.mark == M_OVERFLOW) return overflow;
        if (rule.mark == M_SAME)
            return after.magnitude == before.magnitude && (after.negative == before.negative || !after.magnitude);
        const double change = value_of(after, step, lost) - value_of(before, step, lost);
        const double magnitude = std::ldexp(static_cast<double>(addend.significand), addend.exponent);
        return !(std::fabs(change) > rule.threshold * magnitude);
    }

    void mark(const Shared&, int64_t b, int64_t tile, int64_t first, Local& local, uint8_t* bits, uint8_t*,
              uint8_t* clear) const {
        const int64_t K = job.k, chunks = (K + job.chunk - 1) / job.chunk;
        std::memset(clear, 0, static_cast<size_t>(chunks));
        std::memset(bits, 0, static_cast<size_t>(K * ROWS * WIDTH / 8));
        for (int r = 0; r < ROWS; r++)
            read(!lanes_are_x, b, tile * ROWS + r,
                 [&](int64_t k, double value) { local.rows.data[r * K + k] = operand_of(value); });
        for (int r = 0; r < ROWS; r++)
            for (int j = 0; j < WIDTH; j++) {
                const int64_t m = lanes_are_x ? first + j : tile * ROWS + r, n = lanes_are_x ? tile * ROWS + r : first + j;
                if (m < job.m && n < job.n) mark_output(b, m, n, r, j, local, bits);
            }
    }

    void mark_output(int64_t b, int64_t m, int64_t n, int r, int j, Local& local, uint8_t* bits) const {
        const int64_t K = job.k, chunks = (K + job.chunk - 1) / job.chunk;
        const Operand *row = local.rows.data + r * K, *lane = local.lanes.data + j * K;
        const auto place = [&](int64_t k) { return g.place ? g.place[k * job.n + n] : k; };
        uint32_t keys[3][2];
        for (int stage = 0; stage < 3; stage++) {
            keys[stage][0] = mix(word_key(job.seed, job.call, stage, 0) ^
                                 static_cast<uint32_t>(x_words + m + b * job.m_words));
            keys[stage][1] = mix(word_key(job.seed, job.call, stage, 1) ^
                                 static_cast<uint32_t>(job.n_first + n + b * job.n_words));
        }
        const auto word = [&](int stage, const fmaq_step& step, int64_t k) -> uint32_t {
            if (step.rounding != STOCHASTIC) return 0;
            const auto at = static_cast<uint32_t>(k);
            return (word_at(keys[stage][0], at) ^ word_at(keys[stage][1], at)) >> (32 - step.random_bits);
        };
        uint8_t *inner = local.inner.data, *outer = local.outer.data;
        Sum out = {0, false};
        for (int64_t c = 0; c < chunks; c++) {
            const int64_t from = c * job.chunk, to = from + job.chunk < K ? from + job.chunk : K;
            Sum acc = {0, false};
            for (int64_t k = from; k < to; k++) {
                const int64_t p = place(k);
                const Unpacked addend =
                    addend_of(unpacked(row[p]), unpacked(lane[p]), job.product, word(PRODUCT, job.product, k), nullptr);
                fmaq_events events = {};
                const Sum next = add(acc, addend, job.inner, word(INNER, job.inner, k), &events);
                inner[k] = marks(acc, addend, next, job.inner, events.overflow, &local.lost);
                acc = next;
            }
            if (rule.recursive)
                for (int64_t k = to - 2; k >= from; k--) inner[k] |= inner[k + 1];
            fmaq_events events = {};
            const Unpacked addend = unpack(acc, job.inner);
            const Sum next = add(out, addend, job.outer, word(OUTER, job.outer, c), &events);
            outer[c] = marks(out, addend, next, job.outer, events.overflow, &local.lost);
            out = next;
        }
        if (rule.recursive)
            for (int64_t c = chunks - 2; c >= 0; c--) outer[c] |= outer[c + 1];
        for (int64_t k = 0; k < K; k++)
            if (!inner[k] && !outer[k / job.chunk])
                bits[(place(k) * ROWS + r) * (WIDTH / 8) + j / 8] |= static_cast<uint8_t>(1 << j % 8);
    }
    bool lost(const Local& local) const { return local.lost; }
};

}  // namespace
}  // namespace fmaq

// Any configuration: one output at a time, by the steps on integers.
#pragma once
#include <cmath>
#include <cstdint>

#include "job.h"

namespace fmaq {
namespace {

struct Operand {
    int64_t significand;  // with its sign
    int32_t exponent;
};

double operand_at(const void* data, int is_double, int64_t at) {
    return is_double ? static_cast<const double*>(data)[at] : static_cast<const float*>(data)[at];
}

// Significands have at most 24 bits in every operand format.
Operand operand_of(double value) {
    if (value == 0) return {0, 0};
    uint64_t bits;
    std::memcpy(&bits, &value, 8);
    int exponent = static_cast<int>(bits >> 52 & 0x7ff);
    uint64_t significand = bits & ((uint64_t(1) << 52) - 1);
    if (exponent) significand |= uint64_t(1) << 52;
    else exponent = 1;
    const int zeros = __builtin_ctzll(significand);
    significand >>= zeros;
    const int64_t magnitude = static_cast<int64_t>(significand);
    return {bits >> 63 ? -magnitude : magnitude, exponent - 1075 + zeros};
}

Unpacked unpacked(Operand a) {
    return {static_cast<uint64_t>(a.significand < 0 ? -a.significand : a.significand), a.exponent, a.significand < 0};
}

double value_of(Sum sum, const fmaq_step& step, bool* lost) {
    const Unpacked exact = unpack(sum, step);
    if (!exact.significand) return 0;
    const double magnitude = static_cast<double>(exact.significand);
    if (static_cast<uint64_t>(magnitude) != exact.significand) *lost = true;
    return std::ldexp(exact.negative ? -magnitude : magnitude, exact.exponent);
}

int run_scalar(const fmaq_job& job) {
    const int64_t K = job.k, N = job.n;
    const bool by_column = job.k_columns != 0;
    Buffer<Operand> w_buffer;
    Operand* w = w_buffer.get(static_cast<size_t>(K * N));
    if (!w) return 2;
    bool lost = false, no_memory = false;
    for (int64_t b = 0; b < job.batch; b++) {
        const int64_t w_base = b * job.w_batch, x_base = b * job.x_batch;
#pragma omp parallel num_threads(threads_of(job))
        {
            Mode mode(Mode::DEFAULT);
            Buffer<Operand> x_buffer;
            Operand* x = x_buffer.get(static_cast<size_t>(by_column ? K * N : K));
            Buffer<int64_t> count_buffer;
            int64_t* counts = job.counts ? count_buffer.get(static_cast<size_t>(8 * N)) : nullptr;
            Buffer<double> range_buffer;
            double* range = job.counts ? range_buffer.get(static_cast<size_t>(4 * N)) : nullptr;
            if (!x || (job.counts && (!counts || !range))) {
#pragma omp atomic write
                no_memory = true;
            }
            if (counts) std::memset(counts, 0, sizeof(int64_t) * 8 * N);
            if (range) std::memset(range, 0, sizeof(double) * 4 * N);
#pragma omp for schedule(static)
            for (int64_t n = 0; n < N; n++)
                for (int64_t k = 0; k < K; k++)
                    w[n * K + k] = operand_of(operand_at(
                        job.w, job.w_double, w_base + n * job.w_n + job.w_k[by_column ? k * N + n : k]));
            bool lost_here = false;
#pragma omp for schedule(dynamic, 1)
            for (int64_t m = 0; m < job.m; m++) {
                if (no_memory) continue;
                const int64_t at = x_base + x_offset(job, m);
                for (int64_t k = 0; k < (by_column ? K * N : K); k++)
                    x[k] = operand_of(operand_at(job.x, job.x_double, at + job.x_k[k]));
                uint32_t row_key[3];
                for (int stage = 0; stage < 3; stage++)
                    row_key[stage] = mix(word_key(job.seed, job.call, stage, 0) ^
                                         static_cast<uint32_t>(m + b * job.m_words));
                for (int64_t n = 0; n < N; n++) {
                    uint32_t column_key[3];
                    for (int stage = 0; stage < 3; stage++)
                        column_key[stage] = mix(word_key(job.seed, job.call, stage, 1) ^
                                                static_cast<uint32_t>(job.n_first + n + b * job.n_words));
                    const auto word = [&](int stage, const fmaq_step& step, int64_t k) -> uint32_t {
                        if (step.rounding != STOCHASTIC) return 0;
                        const uint32_t both = word_at(row_key[stage], static_cast<uint32_t>(k)) ^
                                              word_at(column_key[stage], static_cast<uint32_t>(k));
                        return both >> (32 - step.random_bits);
                    };
                    fmaq_events events[3] = {};
                    const auto note = [&](int stage) { return counts ? events + stage : nullptr; };
                    Sum out = {0, false};
                    int64_t c = 0;
                    for (int64_t from = 0; from < K; from += job.chunk, c++) {
                        const int64_t to = from + job.chunk < K ? from + job.chunk : K;
                        Sum acc = {0, false};
                        for (int64_t k = from; k < to; k++) {
                            const Unpacked p = addend_of(unpacked(x[by_column ? k * N + n : k]), unpacked(w[n * K + k]),
                                                         job.product, word(PRODUCT, job.product, k), note(0));
                            acc = add(acc, p, job.inner, word(INNER, job.inner, k), note(1));
                            if (range) {
                                bool ignored;
                                const double sum = value_of(acc, job.inner, &ignored);
                                if (sum < range[n]) range[n] = sum;
                                if (sum > range[2 * N + n]) range[2 * N + n] = sum;
                            }
                        }
                        out = add(out, unpack(acc, job.inner), job.outer, word(OUTER, job.outer, c), note(2));
                        if (range) {
                            bool ignored;
                            const double sum = value_of(out, job.outer, &ignored);
                            if (sum < range[N + n]) range[N + n] = sum;
                            if (sum > range[3 * N + n]) range[3 * N + n] = sum;
                        }
                    }
                    const double value = value_of(out, job.outer, &lost_here);
                    const int64_t to = b * job.out_batch + out_offset(job, m) + n * job.out_n;
                    if (job.out_double) static_cast<double*>(job.out)[to] = value;
                    else static_cast<float*>(job.out)[to] = static_cast<float>(value);
                    if (counts) {
                        const int64_t numbers[8] = {events[0].overflow, events[0].underflow, events[1].overflow,
                                                    events[1].underflow, events[1].swamped, events[2].overflow,
                                                    events[2].underflow, events[2].swamped};
                        for (int j = 0; j < 8; j++) counts[j * N + n] += numbers[j];
                    }
                }
            }
#pragma omp critical
            {
                lost |= lost_here;
                if (counts && range) {
                    for (int64_t j = 0; j < 8 * N; j++) job.counts[j] += counts[j];
                    for (int64_t j = 0; j < 2 * N; j++) {
                        if (range[j] < job.low[j]) job.low[j] = range[j];
                        if (range[2 * N + j] > job.high[j]) job.high[j] = range[2 * N + j];
                    }
                }
            }
        }
    }
    return no_memory ? 2 : lost ? 1 : 0;
}

}  // namespace
}  // namespace fmaq

// Matrix products and convolutions on the processor. Compiled once for each instruction set (FMAQ_ISA =
// avx512, avx2, generic), and called by the widest that the machine has. Plain C interface.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>

#include "operands.h"
#include "steps.h"

#if defined(__AVX2__)
#define FMAQ_VECTORS 1
#include "tile.h"
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

extern "C" {

// out[b, m, n] = sum over k of x[b, m, k] * w[b, k, n]. Row m of x is pixel (image, row, column) of a
// convolution, or image 0, row 0, column m. Mirrored field by field by sim/kernels/native/library.py.
struct fmaq_job {
    int32_t path;     // 0: integers, one by one; 1: single precision; 2: double; 3: 16-bit integers; 4: half
    int32_t threads;
    int32_t x_double, w_double, out_double;  // element types: float32, float64
    int32_t plain_out;    // results are normal numbers of float32, and so is out_scale * out_scale_rest
    int32_t underflows;   // whether a product can be too small for the product quantizer
    int32_t shift;        // path 3: left shift that makes saturation that of 16 bits; -1: by limits
    uint32_t call;        // of the random words
    uint64_t seed;
    const void *x, *w;
    void* out;
    int64_t batch, m, n, k, chunk;
    int64_t x_batch, w_batch, out_batch;          // strides, in elements
    int64_t pixel_rows, pixel_columns;            // pixels of an image
    int64_t x_image, x_row, x_column;             // of a pixel
    int64_t out_image, out_pixel, out_n, w_n;
    // Images [planes][height][width] that are surrounded by zeros before anything else; 0 planes: none. The
    // strides above are those of what comes out.
    int64_t planes, height, width, pad_rows, pad_columns;
    const int64_t *x_k, *w_k;                     // offsets of step k; [k], or [k, n] where each column has its own
    int64_t k_columns;                            // 0, or n in the latter case
    int64_t m_words, n_words, n_first;            // word indices that a batch advances; of the first column
    double x_scale, w_scale;                      // of the vector types
    double out_scale, out_scale_rest;             // multiplied one after the other: each is a float64
    double x_norm, w_norm;                        // 1 over the largest magnitudes, powers of two
    int32_t inner_shift, outer_shift;             // sums in a vector type are those of the contract * 2**shift
    fmaq_step product, inner, outer;
    fmaq_lane_step lane_product, lane_inner, lane_outer;
    int64_t* counts;   // [8][n], or null: no statistics
    double *low, *high;  // [2][n]: least and largest sums inside chunks, and of chunks
};

}

namespace fmaq {
namespace {

// The floating-point mode of this thread: rounding, and whether subnormal numbers are kept. Threads compute in the
// default mode, whatever the caller's, tiles of vectors in their own; what was there is restored.
struct Mode {
#if defined(__x86_64__)
    static constexpr unsigned DEFAULT = 0x1f80, TOWARD_ZERO_FLUSHED = 0x1f80 | 0x6000 | 0x8000 | 0x0040;
    unsigned saved = _mm_getcsr();
    explicit Mode(unsigned wanted) { _mm_setcsr(wanted); }
    ~Mode() { _mm_setcsr(saved); }
#elif defined(__aarch64__)
    static constexpr uint64_t DEFAULT = 0;
    uint64_t saved;
    explicit Mode(uint64_t wanted) {
        asm volatile("mrs %0, fpcr" : "=r"(saved));
        asm volatile("msr fpcr, %0" : : "r"(wanted));
    }
    ~Mode() { asm volatile("msr fpcr, %0" : : "r"(saved)); }
#else
    static constexpr unsigned DEFAULT = 0;
    explicit Mode(unsigned) {}
    ~Mode() {}
#endif
};

template <class T>
struct Buffer {
    T* data = nullptr;
    size_t size = 0;
    T* get(size_t count) {
        if (count > size) {
            std::free(data);
            const size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
            data = static_cast<T*>(std::aligned_alloc(64, bytes ? bytes : 64));
            size = data ? count : 0;
        }
        return data;
    }
    ~Buffer() { std::free(data); }
};

int threads_of(const fmaq_job& job) { return job.threads > 0 ? job.threads : 1; }

int64_t x_offset(const fmaq_job& job, int64_t m) {
    const int64_t row = m / job.pixel_columns, column = m % job.pixel_columns;
    return row / job.pixel_rows * job.x_image + row % job.pixel_rows * job.x_row + column * job.x_column;
}
int64_t out_offset(const fmaq_job& job, int64_t m) {
    const int64_t pixels = job.pixel_rows * job.pixel_columns;
    return m / pixels * job.out_image + m % pixels * job.out_pixel;
}

// A copy of the images with zeros around them.
template <class S>
bool pad(const fmaq_job& job, Buffer<S>& buffer) {
    const S* from = static_cast<const S*>(job.x);
    const int64_t width = job.width + 2 * job.pad_columns, height = job.height + 2 * job.pad_rows;
    S* to = buffer.get(static_cast<size_t>(job.planes * height * width));
    if (!to) return false;
#pragma omp parallel for num_threads(threads_of(job))
    for (int64_t plane = 0; plane < job.planes; plane++) {
        S* row = to + plane * height * width;
        std::memset(row, 0, sizeof(S) * static_cast<size_t>(height * width));
        row += job.pad_rows * width + job.pad_columns;
        for (int64_t y = 0; y < job.height; y++)
            std::memcpy(row + y * width, from + (plane * job.height + y) * job.width, sizeof(S) * job.width);
    }
    return true;
}

// ------------------------------------------------------------------------------------------------
// One output at a time, on integers.

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

#if FMAQ_VECTORS
// ------------------------------------------------------------------------------------------------
// Tiles. One operand is packed as rows, whose numbers are broadcast, the other as lanes of vectors.

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

// ------------------------------------------------------------------------------------------------
// Saturating integers of at most 16 bits, whose products have as many: 32 (16) to a vector.

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
#endif  // FMAQ_VECTORS

int run(const fmaq_job& job) {
    Mode mode(Mode::DEFAULT);
    if (job.planes) {
        Buffer<float> singles;
        Buffer<double> doubles;
        if (!(job.x_double ? pad(job, doubles) : pad(job, singles))) return 2;
        fmaq_job padded = job;
        padded.planes = 0;
        padded.x = job.x_double ? static_cast<void*>(doubles.data) : static_cast<void*>(singles.data);
        return run(padded);
    }
#if FMAQ_VECTORS
    switch (job.path) {
        case 1: return run_lanes<Single>(job);
        case 2: return run_lanes<Double>(job);
        case 3: return run_short(job);
#if defined(__AVX512FP16__)
        case 4: return run_lanes<Half>(job);
#endif
    }
#endif
    return job.path == 0 ? run_scalar(job) : 3;
}

}  // namespace
}  // namespace fmaq

#ifdef FMAQ_FIRST
// Whether this machine runs what was compiled as fmaq_run_NAME.
extern "C" int fmaq_supports(const char* isa) {
    if (!std::strcmp(isa, "generic")) return 1;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!std::strcmp(isa, "avx2")) return avx2;
    if (!std::strcmp(isa, "avx512")) return avx512;
    if (!std::strcmp(isa, "avx512fp16")) {
        unsigned a, b, c, d;  // by CPUID: older compilers do not know the name
        if (!avx512 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
        return d >> 23 & 1;
    }
#endif
    return 0;
}
#endif

// Exported as fmaq_run_avx512 and so on; the caller picks one.
#define FMAQ_PASTE(name, isa) name##isa
#define FMAQ_NAME(name, isa) FMAQ_PASTE(name, isa)

extern "C" {

// 0: done; 1: a result has more than 53 significant bits; 2: out of memory; 3: not built for this machine.
int FMAQ_NAME(fmaq_run_, FMAQ_ISA)(const fmaq_job* job) { return fmaq::run(*job); }

int FMAQ_NAME(fmaq_inspect_, FMAQ_ISA)(const fmaq_operand* operand, fmaq_extent* extent) {
    fmaq::Mode mode(fmaq::Mode::DEFAULT);
    return fmaq::inspect(*operand, extent);
}

int FMAQ_NAME(fmaq_quantize_, FMAQ_ISA)(const fmaq_operand* operand, void* out) {
    fmaq::Mode mode(fmaq::Mode::DEFAULT);
    return fmaq::quantize_operand(*operand, out);
}
}

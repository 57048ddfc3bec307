// What a call of the kernels is told, and what all of its ways share: the mode of the processor, memory, offsets.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "steps.h"

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
}  // namespace
}  // namespace fmaq

// Tiles of outputs, 256 threads to each, R x C outputs to a thread, and how a card or, for the tests' twin, the processor
// runs them: there the threads go one after the other.
#pragma once
#include <new>

#include "cuda_steps.h"

#ifdef __CUDACC__
#define FMAQ_UNROLL _Pragma("unroll")
#define FMAQ_UNROLL_SOME _Pragma("unroll 4")
#define FMAQ_UNROLL_TWO _Pragma("unroll 2")
#define FMAQ_GRID __grid_constant__
#else
#define FMAQ_UNROLL_SOME
#define FMAQ_UNROLL_TWO
#define FMAQ_UNROLL
#define FMAQ_GRID
#endif

namespace fmaq {
namespace {

constexpr int SIDE = 16, THREADS = SIDE * SIDE, DEPTH = 16, PAD = 4;

FMAQ_FN int smaller(int a, int b) { return a < b ? a : b; }
FMAQ_FN int64_t ratio_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

#ifdef __CUDACC__
template <class T>
__global__ void __launch_bounds__(THREADS, 2) kernel(const FMAQ_GRID typename T::Grid grid) {
    extern __shared__ __align__(16) unsigned char memory[];
    T thread(grid, *reinterpret_cast<typename T::Memory*>(memory), static_cast<int>(threadIdx.x));
    const auto each = [&](const auto& part) {
        part(thread);
        __syncthreads();
    };
    for (int64_t tile = blockIdx.x; tile < grid.tiles; tile += gridDim.x) T::run(grid, tile, each);
}
#endif

// Has all tiles of a grid computed. T has types Grid, Memory (what a tile's threads share), and run(): a tile, where
// `each` has every thread do a part, and waits for all of them. Returns a cudaError_t.
template <class T>
int launch(const typename T::Grid& grid, [[maybe_unused]] void* stream) {
    using Memory = typename T::Memory;
#ifdef __CUDACC__
    if (const auto error = cudaFuncSetAttribute(kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                static_cast<int>(sizeof(Memory))))
        return error;
    const auto blocks = static_cast<unsigned>(grid.tiles < 0x7fffffff ? grid.tiles : 0x7fffffff);
    kernel<T><<<blocks, THREADS, sizeof(Memory), static_cast<cudaStream_t>(stream)>>>(grid);
    return cudaGetLastError();
#else
    Memory* shared = new Memory;
    T* threads = static_cast<T*>(::operator new(sizeof(T) * THREADS));
    for (int id = 0; id < THREADS; id++) new (threads + id) T(grid, *shared, id);
    const auto each = [&](const auto& part) {
        for (int id = 0; id < THREADS; id++) part(threads[id]);
    };
    for (int64_t tile = 0; tile < grid.tiles; tile++) T::run(grid, tile, each);
    ::operator delete(threads);
    delete shared;
    return 0;
#endif
}

FMAQ_FN int64_t x_offset(const fmaq_cuda_job& job, int64_t m) {
    const int64_t row = m / job.pixel_columns, column = m % job.pixel_columns;
    return row / job.pixel_rows * job.x_image + row % job.pixel_rows * job.x_row + column * job.x_column;
}
FMAQ_FN int64_t out_offset(const fmaq_cuda_job& job, int64_t m) {
    const int64_t pixels = job.pixel_rows * job.pixel_columns;
    return m / pixels * job.out_image + m % pixels * job.out_pixel;
}

// Which numbers a thread brings into shared memory: some lines (rows or columns) at some depths, such that
// threads next to each other read what lies next to each other.
struct Part {
    int line, lines, depth, depths;
    FMAQ_IN Part(int id, int count, int along)
        : line(along ? id / DEPTH : id % count), lines(along ? THREADS / DEPTH : 0),
          depth(along ? id % DEPTH : id / count), depths(along ? 0 : THREADS / count) {}
};

template <class S, int R, int C>
struct Shared {
    alignas(16) typename S::Number x[2][DEPTH][R * SIDE + PAD];
    alignas(16) typename S::Number w[2][DEPTH][C * SIDE + PAD];
    int64_t x_at[R * SIDE], w_at[C * SIDE];  // offsets of rows and columns
};

template <class T, class Each>
FMAQ_FN void run_tile(const fmaq_cuda_job& job, int64_t tile, const Each& each);

template <class S, int R, int C>
struct Thread {
    using Number = typename S::Number;
    using Memory = Shared<S, R, C>;
    struct Grid {
        fmaq_cuda_job job;
        S steps;
        int64_t first, tile_rows, tile_columns, tiles;
        // Of rows from `first` on.
        Grid(const fmaq_cuda_job& j, const S& s, int64_t first)
            : job(j), steps(s), first(first), tile_rows(ratio_up(j.m - first, R * SIDE)),
              tile_columns(ratio_up(j.n, C * SIDE)), tiles(j.batch * tile_rows * tile_columns) {}
    };
    const Grid& grid;
    const fmaq_cuda_job& job;
    const S& steps;
    Memory& shared;
    int id;
    Part x, w;
    int64_t batch, m0, n0, column, left;
    uint32_t chunk;
    typename S::Sum sum[R][C];
    typename S::Total total[R][C];
    Number x_next[R], w_next[C];

    FMAQ_IN Thread(const Grid& g, Memory& memory, int id)
        : grid(g), job(g.job), steps(g.steps), shared(memory), id(id), x(id, R * SIDE, g.job.x_along),
          w(id, C * SIDE, g.job.w_along) {}

    template <class Each>
    FMAQ_IN static void run(const Grid& grid, int64_t tile, const Each& each) {
        run_tile<Thread>(grid.job, tile, each);
    }

    FMAQ_IN void start(int64_t tile) {
        const int64_t plane = grid.tile_rows * grid.tile_columns;
        batch = tile / plane;
        m0 = grid.first + tile % plane / grid.tile_columns * (R * SIDE);
        n0 = tile % grid.tile_columns * (C * SIDE);
        left = job.chunk;
        chunk = 0;
        FMAQ_UNROLL for (int i = 0; i < R; i++)
            FMAQ_UNROLL for (int j = 0; j < C; j++) sum[i][j] = {}, total[i][j] = {};
        for (int i = id; i < R * SIDE; i += THREADS)
            shared.x_at[i] = batch * job.x_batch + x_offset(job, m0 + i < job.m ? m0 + i : job.m - 1);
        for (int i = id; i < C * SIDE; i += THREADS)
            shared.w_at[i] = batch * job.w_batch + (n0 + i < job.n ? n0 + i : job.n - 1) * job.w_n;
        column = n0 + id % SIDE < job.n ? n0 + id % SIDE : job.n - 1;
    }

    FMAQ_IN Place place(int side, int64_t line, int64_t k) const {
        const int64_t at = side ? n0 + line + batch * job.n_words : m0 + line + batch * job.m_words;
        return {side, static_cast<uint32_t>(at), static_cast<uint32_t>(k)};
    }
    // An operand as the way takes it: nothing is lost, by the plan's proof.
    FMAQ_IN static typename S::Element element(const void* data, int32_t is_double, double scale, int64_t from) {
        using Element = typename S::Element;
        if (is_double) return static_cast<Element>(static_cast<const double*>(data)[from] * scale);
        return static_cast<Element>(static_cast<const float*>(data)[from]) * static_cast<Element>(scale);
    }
    FMAQ_IN Number read(int side, int line, int64_t k) const {
        const int64_t step = S::BY_COLUMN && job.k_columns ? k * job.n + column : k;
        const int64_t from = side ? shared.w_at[line] + job.w_k[step] : shared.x_at[line] + job.x_k[step];
        return steps.number(side ? element(job.w, job.w_double, job.w_scale, from) : element(job.x, job.x_double, job.x_scale, from),
                            place(side, line, k));
    }
    // Past the ends the last one is read, and not used.
    FMAQ_IN void fetch(int64_t k) {
        if (k >= job.k) return;
        const int last = job.k - k < DEPTH ? static_cast<int>(job.k - k) - 1 : DEPTH - 1;
        FMAQ_UNROLL for (int i = 0; i < R; i++)
            x_next[i] = read(0, x.line + i * x.lines, k + smaller(x.depth + i * x.depths, last));
        FMAQ_UNROLL for (int j = 0; j < C; j++)
            w_next[j] = read(1, w.line + j * w.lines, k + smaller(w.depth + j * w.depths, last));
    }
    FMAQ_IN void put(int half) {
        FMAQ_UNROLL for (int i = 0; i < R; i++) shared.x[half][x.depth + i * x.depths][x.line + i * x.lines] = x_next[i];
        FMAQ_UNROLL for (int j = 0; j < C; j++) shared.w[half][w.depth + j * w.depths][w.line + j * w.lines] = w_next[j];
    }

    FMAQ_IN void close() {
        FMAQ_UNROLL for (int i = 0; i < R; i++)
            FMAQ_UNROLL for (int j = 0; j < C; j++) {
                steps.close(total[i][j], sum[i][j], place(0, id / SIDE * R + i, chunk), place(1, id % SIDE * C + j, chunk));
                sum[i][j] = {};
            }
        chunk++;
        left = job.chunk;
    }
    FMAQ_IN void compute(int half, int64_t k) {
        const int depth = job.k - k < DEPTH ? static_cast<int>(job.k - k) : DEPTH;
        for (int d = 0; d < depth;) {
            const int end = left < depth - d ? d + static_cast<int>(left) : depth;
            left -= end - d;
            FMAQ_UNROLL_SOME for (; d < end; d++) {
                Number a[R], b[C];
                FMAQ_UNROLL for (int i = 0; i < R; i++) a[i] = shared.x[half][d][id / SIDE * R + i];
                FMAQ_UNROLL for (int j = 0; j < C; j++) b[j] = shared.w[half][d][id % SIDE * C + j];
                if constexpr (S::BY_COLUMN)
                    if (job.k_columns) a[0] = read(0, id / SIDE, k + d), b[0] = read(1, id % SIDE, k + d);
                FMAQ_UNROLL for (int i = 0; i < R; i++)
                    FMAQ_UNROLL for (int j = 0; j < C; j++) steps.add(sum[i][j], a[i], b[j]);
            }
            if (left == 0) close();
        }
    }

    FMAQ_IN void store() {
        if (left != job.chunk) close();
        bool lost = false;
        FMAQ_UNROLL for (int i = 0; i < R; i++) {
            const int64_t m = m0 + id / SIDE * R + i;
            if (m >= job.m) break;
            const int64_t row = batch * job.out_batch + out_offset(job, m);
            FMAQ_UNROLL for (int j = 0; j < C; j++) {
                const int64_t n = n0 + id % SIDE * C + j;
                if (n >= job.n) break;
                // A sum of -0 becomes +0.
                const double value = steps.value(total[i][j], &lost) * job.out_scale * job.out_scale_rest + 0.0;
                if (job.out_double) static_cast<double*>(job.out)[row + n * job.out_n] = value;
                else static_cast<float*>(job.out)[row + n * job.out_n] = static_cast<float>(value);
            }
        }
        if (lost) *job.lost = 1;
    }
};

// A tile of a Thread, or of what has its parts.
template <class T, class Each>
FMAQ_FN void run_tile(const fmaq_cuda_job& job, int64_t tile, const Each& each) {
    each([&](T& t) { t.start(tile); });
    each([&](T& t) {
        t.fetch(0);
        t.put(0);
    });
    int half = 0;
    for (int64_t k = 0; k < job.k; k += DEPTH, half ^= 1)
        each([&](T& t) {
            t.fetch(k + DEPTH);
            t.compute(half, k);
            t.put(half ^ 1);
        });
    each([&](T& t) { t.store(); });
}

}  // namespace
}  // namespace fmaq

// Matrix products and convolutions on a graphics card: tiles of outputs, 256 threads to each, R x C outputs to
// a thread. The arithmetic is that of cuda_steps.h. A compiler for processors builds the same tiles, threads one
// after the other: the tests' twin. Plain C interface.
#include <new>

#include "cuda_steps.h"

#ifdef __CUDACC__
#define FMAQ_UNROLL _Pragma("unroll")
#define FMAQ_UNROLL_SOME _Pragma("unroll 4")
#define FMAQ_GRID __grid_constant__
#else
#define FMAQ_UNROLL_SOME
#define FMAQ_UNROLL
#define FMAQ_GRID
#endif

namespace fmaq {
namespace {

constexpr int SIDE = 16, THREADS = SIDE * SIDE, DEPTH = 16, PAD = 4;

struct Grid {
    fmaq_cuda_job job;
    int64_t tile_rows, tile_columns, tiles;
};

FMAQ_FN int smaller(int a, int b) { return a < b ? a : b; }

template <class S, int R, int C>
struct Shared {
    alignas(16) typename S::Number x[2][DEPTH][R * SIDE + PAD];
    alignas(16) typename S::Number w[2][DEPTH][C * SIDE + PAD];
    int64_t x_at[R * SIDE], w_at[C * SIDE];  // offsets of rows and columns
};

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
struct Thread {
    using Number = typename S::Number;
    const Grid& grid;
    const fmaq_cuda_job& job;
    const S& steps;
    Shared<S, R, C>& shared;
    int id;
    Part x, w;
    int64_t batch, m0, n0, column, left;
    uint32_t chunk;
    typename S::Sum sum[R][C];
    typename S::Total total[R][C];
    Number x_next[R], w_next[C];

    FMAQ_IN Thread(const Grid& g, const S& s, Shared<S, R, C>& sh, int id)
        : grid(g), job(g.job), steps(s), shared(sh), id(id), x(id, R * SIDE, g.job.x_along), w(id, C * SIDE, g.job.w_along) {}

    FMAQ_IN void start(int64_t tile) {
        const int64_t plane = grid.tile_rows * grid.tile_columns;
        batch = tile / plane;
        m0 = tile % plane / grid.tile_columns * (R * SIDE);
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
    FMAQ_IN Number read(int side, int line, int64_t k) const {
        const int64_t step = S::BY_COLUMN && job.k_columns ? k * job.n + column : k;
        const int64_t from = side ? shared.w_at[line] + job.w_k[step] : shared.x_at[line] + job.x_k[step];
        return steps.number(static_cast<const typename S::Element*>(side ? job.w : job.x)[from], place(side, line, k));
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

// A tile; `each` has every thread do a part, and waits for all of them.
template <class T, class Each>
FMAQ_FN void run_tile(const Grid& grid, int64_t tile, const Each& each) {
    each([&](T& t) { t.start(tile); });
    each([&](T& t) {
        t.fetch(0);
        t.put(0);
    });
    int half = 0;
    for (int64_t k = 0; k < grid.job.k; k += DEPTH, half ^= 1)
        each([&](T& t) {
            t.fetch(k + DEPTH);
            t.compute(half, k);
            t.put(half ^ 1);
        });
    each([&](T& t) { t.store(); });
}

#ifdef __CUDACC__
template <class S, int R, int C>
__global__ void __launch_bounds__(THREADS, 2) kernel(const FMAQ_GRID Grid grid, const FMAQ_GRID S steps) {
    extern __shared__ __align__(16) unsigned char memory[];
    using T = Thread<S, R, C>;
    T thread(grid, steps, *reinterpret_cast<Shared<S, R, C>*>(memory), static_cast<int>(threadIdx.x));
    const auto each = [&](const auto& part) {
        part(thread);
        __syncthreads();
    };
    for (int64_t tile = blockIdx.x; tile < grid.tiles; tile += gridDim.x) run_tile<T>(grid, tile, each);
}

// What the card can do at most: FMAs that wait for nothing but the one before in their chain.
constexpr int CHAINS = 16;
__global__ void __launch_bounds__(THREADS) chain(float* out, int64_t steps, float factor) {
    float v[CHAINS], sum = 0;
    FMAQ_UNROLL for (int i = 0; i < CHAINS; i++) v[i] = static_cast<float>(threadIdx.x + i);
    for (int64_t step = 0; step < steps; step++)
        FMAQ_UNROLL for (int i = 0; i < CHAINS; i++) v[i] = fmaf(v[i], factor, factor);
    FMAQ_UNROLL for (int i = 0; i < CHAINS; i++) sum += v[i];
    out[int64_t(blockIdx.x) * THREADS + threadIdx.x] = sum;
}
#endif

template <class S, int R, int C>
int launch(Grid& grid, [[maybe_unused]] void* stream) {
    const fmaq_cuda_job& job = grid.job;
    grid.tile_rows = (job.m + R * SIDE - 1) / (R * SIDE);
    grid.tile_columns = (job.n + C * SIDE - 1) / (C * SIDE);
    grid.tiles = job.batch * grid.tile_rows * grid.tile_columns;
    const S steps(job);
    using Memory = Shared<S, R, C>;
#ifdef __CUDACC__
    if (const auto error = cudaFuncSetAttribute(kernel<S, R, C>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                static_cast<int>(sizeof(Memory))))
        return error;
    const auto blocks = static_cast<unsigned>(grid.tiles < 0x7fffffff ? grid.tiles : 0x7fffffff);
    kernel<S, R, C><<<blocks, THREADS, sizeof(Memory), static_cast<cudaStream_t>(stream)>>>(grid, steps);
    return cudaGetLastError();
#else
    using T = Thread<S, R, C>;
    Memory* shared = new Memory;
    T* threads = static_cast<T*>(::operator new(sizeof(T) * THREADS));
    for (int id = 0; id < THREADS; id++) new (threads + id) T(grid, steps, *shared, id);
    const auto each = [&](const auto& part) {
        for (int id = 0; id < THREADS; id++) part(threads[id]);
    };
    for (int64_t tile = 0; tile < grid.tiles; tile++) run_tile<T>(grid, tile, each);
    ::operator delete(threads);
    delete shared;
    return 0;
#endif
}

// Small tiles where large ones would leave processors without work.
template <class S>
int launch_sized(Grid& grid, void* stream) {
    const fmaq_cuda_job& job = grid.job;
    const int64_t large = job.batch * ((job.m + 127) / 128) * ((job.n + 63) / 64);
    return large < job.processors ? launch<S, 2, 2>(grid, stream) : launch<S, 8, 4>(grid, stream);
}

int dispatch(Grid& grid, void* stream) {
    const fmaq_cuda_job& job = grid.job;
    const bool words = job.lane_product.way == W_SR || job.lane_inner.way == W_SR;
    switch (job.path) {
        case 0: return launch<Integers, 1, 1>(grid, stream);
        case 1:
            switch (job.lane_inner.way) {
                case W_SUM: return launch_sized<Whole<false>>(grid, stream);
                case W_WHOLE: return launch_sized<Whole<true>>(grid, stream);
                case W_RZ: case W_RNE: case W_SR:
                    return words ? launch<Rounded<true>, 4, 2>(grid, stream) : launch<Rounded<false>, 4, 4>(grid, stream);
                default: return launch<Fixed, 4, 4>(grid, stream);
            }
        case 2: return launch<Sums, 4, 4>(grid, stream);
        default:
            if (job.lane_product.way == W_NONE) return launch_sized<Top<W_NONE, 0>>(grid, stream);
            if (job.underflows) return launch_sized<Top<W_RZ, 2>>(grid, stream);
            if (job.lane_inner.scale != 1) return launch_sized<Top<W_RZ, 1>>(grid, stream);
            return launch_sized<Top<W_RZ, 0>>(grid, stream);
    }
}

}  // namespace
}  // namespace fmaq

extern "C" {

// Returns a cudaError_t.
int fmaq_cuda_run(const fmaq_cuda_job* job, void* stream) {
    fmaq::Grid grid = {*job, 0, 0, 0};
    return fmaq::dispatch(grid, stream);
}

#ifdef __CUDACC__
// Starts blocks * 4096 chains of so many FMAs; out[blocks * 256]. Returns a cudaError_t.
int fmaq_cuda_chain(float* out, int blocks, int64_t steps, void* stream) {
    fmaq::chain<<<blocks, fmaq::THREADS, 0, static_cast<cudaStream_t>(stream)>>>(out, steps, 0.5f);
    return cudaGetLastError();
}
#endif

const char* fmaq_cuda_error([[maybe_unused]] int error) {
#ifdef __CUDACC__
    return cudaGetErrorString(static_cast<cudaError_t>(error));
#else
    return "";
#endif
}
}
